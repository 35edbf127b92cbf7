"""Why a bundle cannot be worked on: its spec, or the claim that lives. Pure."""

from sd_operator import names
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.conditions import Verdict, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.bundle.observe import Observed

#: How many users of a volume a message names.
MOST_USERS = 10


def of_spec(bundle: ModelBundle) -> Verdict | None:
    """Why the spec cannot be done, whatever the cluster looks like."""
    places: dict[str, str] = {}
    for file in bundle.spec.files:
        address = file.source.http
        complaint = address.complaint() if address is not None else None
        if complaint is not None:
            return stalled(Reason.INVALID_SPEC, f"spec.files[{file.name}].source.http.url: {complaint}")
        place = file.place()
        if place is None:
            return stalled(
                Reason.INVALID_SPEC,
                f"spec.files[{file.name}].fileName: {file.implied_file_name()!r}, the last segment of the "
                "source's path, is no plain name that ends in .safetensors; set fileName",
            )
        if place in places:
            return stalled(
                Reason.PATH_CONFLICT,
                f"spec.files[{places[place]}] and spec.files[{file.name}] both become {place} on the volume; "
                f"give one of them another fileName",
            )
        places[place] = file.name
    return None


def of_claim(observed: Observed) -> Verdict | None:
    """Why the claim that lives cannot be used."""
    claim = observed.claim
    if claim is None:
        return None
    name, bundle = claim["metadata"]["name"], observed.bundle.metadata.name
    if (claim["metadata"].get("labels") or {}).get(names.LABEL_SD_BUNDLE) != bundle:
        return stalled(
            Reason.NAME_TAKEN,
            f"PersistentVolumeClaim {name} exists and does not belong to this bundle (it has no label "
            f"{names.LABEL_SD_BUNDLE}={bundle}); rename the bundle, remove the claim, or set the label to "
            "use it",
        )
    if claim["metadata"].get("deletionTimestamp"):
        return reconciling(
            Reason.WAITING_FOR_DELETION,
            f"PersistentVolumeClaim {name} is being deleted; a new one is made when it is gone"
            + _mounted_by(observed.users),
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
