"""Is the bundle ready, by what was decided about its files, and if not, why. Pure."""

from sd_operator import blame
from sd_operator.api.bundle import FileStatus
from sd_operator.api.conditions import Verdict, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.bundle.decide import FileDecision
from sd_operator.bundle.observe import Observed


def readiness(observed: Observed, files: list[FileDecision]) -> Verdict:
    """The one thing that is said about the bundle, the gravest first."""
    for decision in files:
        if decision.status.state == "Failed" and decision.permanent:
            return stalled(Reason.FETCH_FAILED, _failure(decision.status))
    for decision in files:
        if decision.permanent:
            status = decision.status
            words = f"spec.files[{status.name}]: {status.message}"
            return stalled(str(status.reason), blame.named(blame.FETCH_POD, str(status.reason), words))
    for decision in files:
        if decision.status.state == "Failed":
            return reconciling(Reason.FETCH_FAILED, _failure(decision.status))
    waiting = [decision.status for decision in files if decision.status.state != "Verified"]
    if not waiting:
        return ready(Reason.FILES_VERIFIED, f"{_count(files)} on the volume and verified")
    claim = observed.claim
    warning = observed.warnings.get(claim["metadata"]["uid"]) if claim is not None else None
    if warning is not None:
        words = f"PersistentVolumeClaim {warning.message}"
        if observed.bundle.spec.storage.existing_claim is not None:
            return reconciling(warning.reason, f"spec.storage.existingClaim: {words}")
        return reconciling(warning.reason, blame.named(blame.BUNDLE, warning.reason, words))
    for status in waiting:
        if status.reason is not None and status.reason != Reason.QUEUED:
            reason = status.reason if status.state == "Pending" else Reason.FETCHING
            words = f"spec.files[{status.name}]: {status.message}"
            return reconciling(reason, blame.named(blame.FETCH_POD, str(reason), words))
    verified = len(files) - len(waiting)
    return reconciling(Reason.FETCHING, f"{verified} of {_count(files)} verified; fetching {waiting[0].name}")


def _failure(status: FileStatus) -> str:
    words = f"spec.files[{status.name}]: {status.reason}: {status.message}"
    return f"{words}; tried again at {status.retry_at}" if status.retry_at else words


def _count(files: list[FileDecision]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"
