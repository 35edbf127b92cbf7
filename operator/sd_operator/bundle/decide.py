"""Decides what a bundle needs and what is said about it. Pure: one observed world in, decisions out."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sd_operator import names, pods
from sd_operator.api.bundle import BundleFile, FileStatus, ModelBundle
from sd_operator.api.conditions import Verdict, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.bundle import verdict as verdicts
from sd_operator.bundle.observe import Observed
from sd_operator.cluster import Object
from sd_operator.manifests import is_ours

#: A fetch that gave up for a reason that may pass is begun anew after this long.
RETRY_SECONDS = 600.0


class Action(Enum):
    """What a file's Job needs."""

    NOTHING = "nothing"
    CREATE = "create"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class FileDecision:
    """What is said about one file, what its Job needs, and whether a person is needed."""

    status: FileStatus
    action: Action = Action.NOTHING
    permanent: bool = False


def refusal(bundle: ModelBundle) -> Verdict | None:
    """Why the spec cannot be done, whatever the cluster looks like."""
    places: dict[str, str] = {}
    for file in bundle.spec.files:
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


def claim_refusal(observed: Observed) -> Verdict | None:
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
            f"PersistentVolumeClaim {name} is being deleted; a new one is made when it is gone",
        )
    if (claim.get("status") or {}).get("phase") == "Lost":
        return stalled(
            Reason.VOLUME_LOST,
            f"PersistentVolumeClaim {name} lost its volume; delete the claim to start with a new one",
        )
    return None


def decide_file(observed: Observed, file: BundleFile, wish: Object) -> FileDecision:
    """What one file's Job needs. `wish` is the Job as it should be, stamped."""
    job = observed.jobs.get(wish["metadata"]["name"])
    if job is None:
        return _without_job(observed, file, wish)
    if not is_ours(job, uid=observed.bundle.metadata.uid) or job["metadata"].get("deletionTimestamp"):
        return FileDecision(
            _status(file, wish, "Pending", Reason.WAITING_FOR_DELETION, "an earlier Job is being removed")
        )
    if _annotation(job, names.ANNOTATION_CLAIM_UID) != _annotation(wish, names.ANNOTATION_CLAIM_UID):
        return FileDecision(
            _status(file, wish, "Pending", "VolumeReplaced", "the volume is new; the file is fetched again"),
            Action.REPLACE,
        )
    if _condition(job, "Complete") is not None:
        return _completed(observed, file, job, wish)
    if _annotation(job, names.ANNOTATION_APPLIED) != _annotation(wish, names.ANNOTATION_APPLIED):
        # The operator's own settings (image, endpoint) changed: what waits or failed may work now.
        return FileDecision(
            _status(file, wish, "Pending", "JobReplaced", "the Job is replaced by one with today's settings"),
            Action.REPLACE,
        )
    failed = _condition(job, "Failed")
    if failed is not None:
        return _failed(observed, file, job, wish, failed)
    return _underway(observed, file, job, wish)


def obsolete_jobs(observed: Observed, wished: frozenset[str]) -> list[Object]:
    """Jobs of files that changed or left the spec."""
    return [
        job
        for name, job in observed.jobs.items()
        if name not in wished
        and is_ours(job, uid=observed.bundle.metadata.uid)
        and not job["metadata"].get("deletionTimestamp")
    ]


def verdict(observed: Observed, files: list[FileDecision]) -> Verdict:
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
        return reconciling(warning.reason, f"PersistentVolumeClaim {warning.message}")
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


def _without_job(observed: Observed, file: BundleFile, wish: Object) -> FileDecision:
    writers = [
        pod["metadata"]["name"]
        for pod in observed.pods
        if (pod["metadata"].get("labels") or {}).get(names.LABEL_SD_FILE) == file.name
        and not pods.is_finished(pod)
    ]
    if writers:
        # Two pods on one partial file would spoil it.
        return FileDecision(
            _status(
                file,
                wish,
                "Pending",
                Reason.WAITING_FOR_DELETION,
                f"pod {writers[0]} of an earlier Job is ending",
            )
        )
    return FileDecision(_status(file, wish, "Pending"), Action.CREATE)


def _completed(observed: Observed, file: BundleFile, job: Object, wish: Object) -> FileDecision:
    for pod in reversed(observed.pods_of(job)):
        ended = pods.termination(pod)
        if ended is not None and ended.get("exitCode") == 0:
            return _told(file, wish, verdicts.read(ended))
    before = {status.name: status for status in observed.bundle.status.files}.get(file.name)
    if before is not None and before.state == "Verified" and before.job == wish["metadata"]["name"]:
        return FileDecision(before)
    # The pod is gone with its verdict (a node was removed). The fetcher verifies what is on the volume.
    return FileDecision(
        _status(file, wish, "Pending", "VerdictLost", "the fetch pod is gone; the file is verified again"),
        Action.REPLACE,
    )


def _failed(
    observed: Observed, file: BundleFile, job: Object, wish: Object, failed: Mapping[str, Any]
) -> FileDecision:
    told: verdicts.Verdict = verdicts.Failed(
        state="Failed",
        reason=failed.get("reason") or "JobFailed",
        message=failed.get("message") or "the Job failed",
        retryable=True,
    )
    for pod in reversed(observed.pods_of(job)):
        ended = pods.termination(pod)
        if ended is not None:
            told = verdicts.read(ended)
            break
    decision = _told(file, wish, told)
    since = pods.parse_time(failed.get("lastTransitionTime") or "")
    due = since is not None and (observed.now - since).total_seconds() >= RETRY_SECONDS
    if due and not decision.permanent and decision.status.state == "Failed":
        return FileDecision(decision.status, Action.REPLACE)
    return decision


def _told(file: BundleFile, wish: Object, told: verdicts.Verdict) -> FileDecision:
    if isinstance(told, verdicts.Verified):
        status = FileStatus(
            name=file.name,
            state="Verified",
            size=told.size,
            sha256=told.sha256,
            family=told.family,
            path=told.path,
            job=wish["metadata"]["name"],
        )
        return FileDecision(status)
    return FileDecision(
        _status(file, wish, "Failed", told.reason, told.message), permanent=not told.retryable
    )


def _underway(observed: Observed, file: BundleFile, job: Object, wish: Object) -> FileDecision:
    own = observed.pods_of(job)
    # Told while the next try waits and while it runs, so that the status does not swing between the two.
    failure = next((told for pod in reversed(own) if (told := _failure(pod)) is not None), None)
    for pod in reversed(own):
        if pods.termination(pod) is not None:
            continue
        trouble = pods.trouble(pod) or observed.warnings.get(pod["metadata"]["uid"])
        if trouble is not None:
            return FileDecision(
                _status(file, wish, "Pending", trouble.reason, trouble.message),
                permanent=trouble.permanent,
            )
        if pods.is_running(pod) and failure is None:
            return FileDecision(_status(file, wish, "Fetching"))
    if failure is not None:
        words = f"{failure.reason}: {failure.message}; it is tried again"
        return FileDecision(_status(file, wish, "Fetching", "Retrying", words))
    warning = observed.warnings.get(job["metadata"]["uid"])
    if warning is not None:
        return FileDecision(_status(file, wish, "Pending", warning.reason, warning.message))
    return FileDecision(_status(file, wish, "Pending"))


def _failure(pod: Object) -> verdicts.Failed | None:
    ended = pods.termination(pod)
    told = verdicts.read(ended) if ended is not None else None
    return told if isinstance(told, verdicts.Failed) else None


def _status(
    file: BundleFile, wish: Object, state: Any, reason: str | None = None, message: str | None = None
) -> FileStatus:
    return FileStatus(
        name=file.name,
        state=state,
        reason=str(reason) if reason is not None else None,
        message=message[:4000] if message is not None else None,
        job=wish["metadata"]["name"],
    )


def _annotation(manifest: Mapping[str, Any], name: str) -> str | None:
    value: str | None = (manifest["metadata"].get("annotations") or {}).get(name)
    return value


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            found: Mapping[str, Any] = condition
            return found
    return None
