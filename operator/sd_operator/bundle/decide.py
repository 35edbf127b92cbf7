"""Decides what each file of a bundle needs. Pure: one observed world in, decisions out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from sd_operator import names, pods
from sd_operator.api import fetching
from sd_operator.api.bundle import BundleFile, FileStatus, ModelBundle
from sd_operator.api.conditions import Verdict
from sd_operator.api.reasons import Reason
from sd_operator.bundle import verdict as verdicts
from sd_operator.bundle.observe import Observed
from sd_operator.cluster import Object
from sd_operator.manifests import is_orphan, is_ours

#: A fetch that gave up for a reason that may pass is begun anew after this long.
RETRY_SECONDS = 600.0


class Action(Enum):
    """What a file's Job needs."""

    NOTHING = "nothing"
    CREATE = "create"
    ADOPT = "adopt"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class FileDecision:
    """What is said about one file, what its Job needs, and whether a person is needed."""

    status: FileStatus
    action: Action = Action.NOTHING
    permanent: bool = False


def decide_file(observed: Observed, file: BundleFile, wish: Object) -> FileDecision:
    """What one file's Job needs. `wish` is the Job as it should be, stamped."""
    job = observed.jobs.get(wish["metadata"]["name"])
    if job is None:
        return _without_job(observed, file, wish)
    orphan = _is_orphan(observed, job)
    ours = orphan or is_ours(job, uid=observed.bundle.metadata.uid)
    if not ours or job["metadata"].get("deletionTimestamp"):
        return FileDecision(
            _status(file, wish, "Pending", Reason.WAITING_FOR_DELETION, "an earlier Job is being removed")
        )
    if orphan and _is_of_another_wish(job, wish):
        return FileDecision(
            _status(file, wish, "Pending", "JobReplaced", "the Job has lost its owner and is replaced"),
            Action.REPLACE,
        )
    decision = _with_job(observed, file, job, wish)
    if orphan and decision.action is Action.NOTHING:
        return replace(decision, action=Action.ADOPT)
    return decision


def _with_job(observed: Observed, file: BundleFile, job: Object, wish: Object) -> FileDecision:
    if _annotation(job, names.ANNOTATION_CLAIM_UID) != _annotation(wish, names.ANNOTATION_CLAIM_UID):
        return FileDecision(
            _status(file, wish, "Pending", "VolumeReplaced", "the volume is new; the file is fetched again"),
            Action.REPLACE,
        )
    if _condition(job, "Complete") is not None:
        return _completed(observed, file, job, wish)
    if _is_of_another_wish(job, wish):
        # The operator's own settings (image, endpoint) changed: what waits or failed may work now.
        return FileDecision(
            _status(file, wish, "Pending", "JobReplaced", "the Job is replaced by one with today's settings"),
            Action.REPLACE,
        )
    failed = _condition(job, "Failed")
    if failed is not None:
        return _failed(observed, file, job, wish, failed)
    return _underway(observed, file, job, wish)


def makes_something(observed: Observed) -> bool:
    """Whether a child is missing."""
    bundle = observed.bundle
    wished = {fetching.job_name(bundle, file) for file in bundle.spec.files}
    return observed.claim is None or not wished <= observed.jobs.keys()


def verdicts_lost(observed: Observed) -> bool:
    """Whether a Job is complete and no pod, as it is known, tells what it did, nor was it written down."""
    bundle = observed.bundle
    return any(
        job is not None
        and _condition(job, "Complete") is not None
        and _success(observed, job) is None
        and not _is_known(bundle, file)
        for file in bundle.spec.files
        for job in [observed.jobs.get(fetching.job_name(bundle, file))]
    )


def _is_known(bundle: ModelBundle, file: BundleFile) -> bool:
    before = fetching.told(bundle, file)
    return before is not None and before.state == "Verified"


def remembered(observed: Observed, refused: Verdict) -> list[FileStatus]:
    """What is said about the files while the bundle cannot be worked on: only what is still known."""
    if not claim_stays(observed):
        return [
            FileStatus(name=file.name, reason=refused.reason, message="its volume is going or gone")
            for file in observed.bundle.spec.files
        ]
    return [
        fetching.told(observed.bundle, file) or FileStatus(name=file.name)
        for file in observed.bundle.spec.files
    ]


def claim_stays(observed: Observed) -> bool:
    """Whether the claim that lives, if any, has a volume and keeps it."""
    claim = observed.claim
    if claim is None:
        return True
    return (
        not claim["metadata"].get("deletionTimestamp") and (claim.get("status") or {}).get("phase") != "Lost"
    )


def holding_jobs(observed: Observed) -> list[Object]:
    """Jobs whose pods, even ended ones, keep a claim from going that should go."""
    return [] if claim_stays(observed) else obsolete_jobs(observed, frozenset())


def obsolete_jobs(observed: Observed, wished: frozenset[str]) -> list[Object]:
    """Jobs of files that changed or left the spec."""
    return [
        job
        for name, job in observed.jobs.items()
        if name not in wished
        and (is_ours(job, uid=observed.bundle.metadata.uid) or _is_orphan(observed, job))
        and not job["metadata"].get("deletionTimestamp")
    ]


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
    success = _success(observed, job)
    if success is not None:
        return _told(file, wish, verdicts.read(success))
    before = fetching.told(observed.bundle, file)
    if before is not None and before.state == "Verified":
        return FileDecision(before)
    # The pod is gone with its verdict (a node was removed). The fetcher verifies what is on the volume.
    return FileDecision(
        _status(file, wish, "Pending", "VerdictLost", "the fetch pod is gone; the file is verified again"),
        Action.REPLACE,
    )


def _success(observed: Observed, job: Object) -> Mapping[str, Any] | None:
    """How the pod that did a Job's work ended."""
    for pod in reversed(observed.pods_of(job)):
        ended = pods.termination(pod)
        if ended is not None and ended.get("exitCode") == 0:
            return ended
    return None


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
    if failure is not None and not failure.retryable:
        # The Job's own word for it comes later, and is the same.
        return _told(file, wish, failure)
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


def _is_orphan(observed: Observed, job: Object) -> bool:
    return is_orphan(job, label=names.LABEL_SD_BUNDLE, owner=observed.bundle.metadata.name)


def _is_of_another_wish(job: Object, wish: Object) -> bool:
    return _annotation(job, names.ANNOTATION_APPLIED) != _annotation(wish, names.ANNOTATION_APPLIED)


def _annotation(manifest: Mapping[str, Any], name: str) -> str | None:
    value: str | None = (manifest["metadata"].get("annotations") or {}).get(name)
    return value


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            found: Mapping[str, Any] = condition
            return found
    return None
