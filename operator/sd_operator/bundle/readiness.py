"""Is the bundle ready, by what was decided about its files, and if not, why. Pure."""

from sd_operator import blame
from sd_operator.api.conditions import Verdict, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.bundle.decide import RETRY_SECONDS, FileDecision
from sd_operator.bundle.observe import Observed


def readiness(observed: Observed, files: list[FileDecision]) -> Verdict:
    """The one thing that is said about the bundle, the gravest first."""
    for decision in files:
        status = decision.status
        if status.state == "Failed" and decision.permanent:
            return stalled(
                Reason.FETCH_FAILED, f"spec.files[{status.name}]: {status.reason}: {status.message}"
            )
    for decision in files:
        if decision.permanent:
            status = decision.status
            return stalled(str(status.reason), f"spec.files[{status.name}]: {status.message}")
    for decision in files:
        status = decision.status
        if status.state == "Failed":
            return reconciling(
                Reason.FETCH_FAILED,
                f"spec.files[{status.name}]: {status.reason}: {status.message}; tried again every "
                f"{RETRY_SECONDS / 60:.0f} minutes",
            )
    waiting = [decision.status for decision in files if decision.status.state != "Verified"]
    if not waiting:
        return ready(Reason.FILES_VERIFIED, f"{_count(files)} on the volume and verified")
    claim = observed.claim
    warning = observed.warnings.get(claim["metadata"]["uid"]) if claim is not None else None
    if warning is not None:
        words = f"PersistentVolumeClaim {warning.message}"
        return reconciling(warning.reason, blame.named(blame.BUNDLE, warning.reason, words))
    for status in waiting:
        if status.reason is not None:
            return reconciling(
                status.reason if status.state == "Pending" else Reason.FETCHING,
                f"spec.files[{status.name}]: {status.message}",
            )
    verified = len(files) - len(waiting)
    return reconciling(Reason.FETCHING, f"{verified} of {_count(files)} verified; fetching {waiting[0].name}")


def _count(files: list[FileDecision]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"
