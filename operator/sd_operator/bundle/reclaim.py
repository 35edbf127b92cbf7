"""What happens to a bundle's volume when the bundle is deleted. Pure.

Only `reclaimPolicy: Delete` asks for work at the end, so only there is a finalizer.
"""

from sd_operator import names
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.conditions import Verdict, reconciling
from sd_operator.api.reasons import Reason
from sd_operator.bundle.children.claim import is_own
from sd_operator.bundle.observe import Observed
from sd_operator.cluster import Object

#: How many users of a volume a message names.
MOST_USERS = 10


def wants_finalizer(bundle: ModelBundle) -> bool:
    """Whether the volume goes with the bundle."""
    storage = bundle.spec.storage
    return storage.reclaim_policy == "Delete" and storage.existing_claim is None


def has_finalizer(manifest: Object) -> bool:
    """Whether the bundle waits for us at its end."""
    return names.FINALIZER in (manifest["metadata"].get("finalizers") or ())


def marked(manifest: Object, *, finalizer: bool) -> Object:
    """The bundle's metadata as far as it is ours: with the finalizer, or without."""
    metadata = manifest["metadata"]
    own = {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {**own, "finalizers": [names.FINALIZER]} if finalizer else own,
    }


def waits(observed: Observed) -> Verdict | None:
    """Why the volume cannot be deleted yet; None when nobody uses it."""
    if not wants_finalizer(observed.bundle) or not observed.users:
        return None
    some = ", ".join(observed.users[:MOST_USERS]) + (", …" if len(observed.users) > MOST_USERS else "")
    return reconciling(
        Reason.IN_USE,
        f"the bundle is being deleted, and with it its volume (spec.storage.reclaimPolicy: Delete), once no "
        f"SDInstance uses it: {some}",
    )


def doomed_claim(observed: Observed) -> Object | None:
    """The claim that goes with the bundle, as long as it is there."""
    claim = observed.claim
    if claim is None or not wants_finalizer(observed.bundle) or not is_own(observed.bundle, claim):
        return None
    return claim
