"""Why a bundle cannot be worked on: its spec, or the claim that lives. Pure."""

from sd_operator import names
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.conditions import Verdict, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.bundle.children.claim import is_own
from sd_operator.bundle.observe import Observed

#: How many users of a volume a message names.
MOST_USERS = 10


def of_spec(bundle: ModelBundle) -> Verdict | None:
    """Why the spec cannot be done, whatever the cluster looks like."""
    policy = bundle.spec.format_policy
    places: dict[str, str] = {}
    for file in bundle.spec.files:
        where = f"spec.files[{file.name}]"
        for index, source in enumerate(file.sources):
            complaint = source.complaint()
            if complaint is not None:
                field = "source" if index == 0 else f"mirrors[{index - 1}]"
                return stalled(Reason.INVALID_SPEC, f"{where}.{field}.{complaint}")
        complaint = file.name_complaint(policy)
        if complaint is not None:
            return stalled(Reason.INVALID_SPEC, f"{where}.fileName: {complaint}")
        place = file.place(policy)
        if place is not None and place in places:
            return stalled(
                Reason.PATH_CONFLICT,
                f"spec.files[{places[place]}] and {where} both become {place} on the volume; "
                f"give one of them another fileName",
            )
        if place is not None:
            places[place] = file.name
    return None


def of_claim(observed: Observed) -> Verdict | None:
    """Why the claim that lives cannot be used, or why there is none."""
    claim, bundle = observed.claim, observed.bundle
    existing = bundle.spec.storage.existing_claim
    if claim is None:
        if existing is None:
            return None
        return reconciling(
            Reason.CLAIM_NOT_FOUND,
            f"spec.storage.existingClaim: there is no PersistentVolumeClaim {existing!r} in namespace "
            f"{bundle.metadata.namespace}; waiting for it",
        )
    name = claim["metadata"]["name"]
    if existing is None and not is_own(bundle, claim):
        return stalled(
            Reason.NAME_TAKEN,
            f"PersistentVolumeClaim {name} exists and does not belong to this bundle (it has no label "
            f"{names.LABEL_SD_BUNDLE}={bundle.metadata.name}); rename the bundle, remove the claim, name it "
            "in spec.storage.existingClaim, or set the label to use it",
        )
    if claim["metadata"].get("deletionTimestamp"):
        rest = "a new one is made when it is gone" if existing is None else "waiting for another of its name"
        return reconciling(
            Reason.WAITING_FOR_DELETION,
            f"PersistentVolumeClaim {name} is being deleted; {rest}" + _mounted_by(observed.users),
        )
    if (claim.get("status") or {}).get("phase") == "Lost":
        return stalled(
            Reason.VOLUME_LOST,
            f"PersistentVolumeClaim {name} lost its volume; delete the claim to start with a new one",
        )
    return None


def _mounted_by(users: tuple[str, ...]) -> str:
    if not users:
        return ""
    some = ", ".join(users[:MOST_USERS]) + (", …" if len(users) > MOST_USERS else "")
    return f", and it stays while pods mount it: those of SDInstance {some}"
