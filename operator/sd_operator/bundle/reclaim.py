"""What happens to a bundle's volume when the bundle is deleted. Pure.

Only `reclaimPolicy: Delete` asks for work at the end, so only there is a finalizer.
"""

from collections.abc import Sequence

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


def finalizers(manifest: Object, *, ours: bool) -> list[str]:
    """The bundle's finalizers with ours, or without."""
    others = [each for each in manifest["metadata"].get("finalizers") or () if each != names.FINALIZER]
    return [*others, names.FINALIZER] if ours else others


def waits(observed: Observed, holders: Sequence[str]) -> Verdict | None:
    """Why the volume cannot be deleted yet; None when nobody uses it, or when it goes already."""
    if doomed_claim(observed) is None or not holders:
        return None
    some = ", ".join(holders[:MOST_USERS]) + (", …" if len(holders) > MOST_USERS else "")
    return reconciling(
        Reason.IN_USE,
        "the bundle is being deleted, and with it its volume (spec.storage.reclaimPolicy: Delete), once "
        f"nobody uses it: {some}",
    )


def goes(claim: Object, holders: Sequence[str]) -> Verdict:
    """What is said while the volume goes."""
    words = f"PersistentVolumeClaim {claim['metadata']['name']} is being deleted, and the bundle with it"
    if holders:
        words += f"; it stays while pods mount it: those of {', '.join(holders[:MOST_USERS])}"
    return reconciling(Reason.WAITING_FOR_DELETION, words)


def doomed_claim(observed: Observed) -> Object | None:
    """The claim that goes with the bundle, as long as it is there."""
    claim = observed.claim
    if claim is None or not wants_finalizer(observed.bundle) or not is_own(observed.bundle, claim):
        return None
    return claim
