"""The status of a bundle, from what was observed and decided. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sd_operator.api.bundle import FileStatus, ModelBundleStatus
from sd_operator.api.bundle_status import (
    MAX_USED_BY,
    LeavingFile,
    VerificationStatus,
    VolumeStatus,
)
from sd_operator.api.conditions import Verdict, condition, conditions
from sd_operator.api.reasons import Reason
from sd_operator.bundle.observe import Observed
from sd_operator.bundle.progress import progress

FORMATS_SAFE = "FormatsSafe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one pass made of a bundle."""

    verdict: Verdict
    files: Sequence[FileStatus]
    claim: Mapping[str, Any] | None
    leaving: tuple[LeavingFile, ...] = ()
    verification: VerificationStatus | None = None
    #: Paths of files that were removed from the volume since the stored status.
    removed: tuple[str, ...] = ()


def build_status(observed: Observed, outcome: Outcome, *, time: str) -> dict[str, Any]:
    """The status as it is written; equal to the stored one when there is nothing to say."""
    bundle, claim = observed.bundle, outcome.claim
    volume = None
    if claim is not None:
        volume = VolumeStatus(
            claim_name=bundle.claim_name,
            uid=claim["metadata"].get("uid"),
            capacity=((claim.get("status") or {}).get("capacity") or {}).get("storage"),
        )
    generation, previous = bundle.metadata.generation, bundle.status.conditions
    holds, reason, message = _formats(observed)
    formats = condition(
        FORMATS_SAFE, holds, reason, message, generation=generation, previous=previous, time=time
    )
    told = conditions(outcome.verdict, generation=generation, previous=previous, time=time)
    status = ModelBundleStatus(
        observed_generation=generation,
        conditions=(*told, formats),
        files=tuple(outcome.files),
        progress=progress(outcome.files, observed.progress),
        leaving=outcome.leaving,
        volume=volume,
        verification=outcome.verification,
        used_by=observed.users[:MAX_USED_BY],
    )
    return without_empty(status.as_manifest())


def _formats(observed: Observed) -> tuple[bool, str, str]:
    """Whether the format policy keeps code out, and what is said of it."""
    policy = observed.bundle.spec.format_policy
    if policy != "Unsafe":
        return True, Reason.AS_EXPECTED.value, ""
    return (
        False,
        Reason.UNSAFE_FORMATS.value,
        "spec.formatPolicy is Unsafe: pickles are kept as they are, and whoever loads one runs the code in "
        "it; SafetensorsOnly or ScanPickle keep code out",
    )


def without_empty(status: dict[str, Any]) -> dict[str, Any]:
    """Leaves empty lists out, as the stored object does."""
    return {key: value for key, value in status.items() if value != []}
