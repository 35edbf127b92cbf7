"""Decides what each file of a bundle needs. Pure: one observed world in, decisions out."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from sd_operator import names, pods
from sd_operator.api.bundle import BundleFile, FileStatus
from sd_operator.api.conditions import Verdict, timestamp
from sd_operator.api.reasons import Reason
from sd_operator.bundle import verdict as verdicts
from sd_operator.bundle.jobs import claim_stays, failures, is_lost, outcome, success, told
from sd_operator.bundle.observe import Observed, annotation, condition, is_finished
from sd_operator.cluster import Object
from sd_operator.manifests import is_ours

#: A fetch that gave up is begun anew after this many seconds, twice as many the next time, and so on.
FIRST_RETRY = 60.0
LONGEST_RETRY = 3600.0
#: A source that asks for more patience is asked after this long all the same.
LONGEST_RETRY_AFTER = 24 * 3600.0
#: Reasons that trying again does not mend, but a person may, elsewhere than in the spec: in a Secret, a
#: ConfigMap, at the source, on the volume. So these are tried again, too.
MENDED_ELSEWHERE = frozenset(
    {
        Reason.UNAUTHORIZED,
        Reason.FORBIDDEN,
        Reason.CREDENTIAL_INVALID,
        Reason.TLS,
        Reason.DNS,
        Reason.VOLUME_ERROR,
        Reason.PATH_CONFLICT,
        Reason.NOT_FOUND,
    }
)


class Action(Enum):
    """What a file's Job needs."""

    NOTHING = "nothing"
    CREATE = "create"
    ADOPT = "adopt"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class FileDecision:
    """What is said about one file, and what its Job needs."""

    status: FileStatus
    action: Action = Action.NOTHING
    #: Whether a person is needed before the file's pod can run.
    stuck: bool = False

    @property
    def permanent(self) -> bool:
        """Whether nothing gets better until a person changes something."""
        status = self.status
        failed = status.state == "Failed" and (status.retry_at is None or status.reason in MENDED_ELSEWHERE)
        return self.stuck or failed


def decide_file(
    observed: Observed, file: BundleFile, wish: Object, damaged: Mapping[str, str] | None = None
) -> FileDecision:
    """What one file's Job needs. `wish`: the Job as it should be, stamped; `damaged`: why files that were
    verified are no longer so, by their names."""
    job = observed.jobs.get(wish["metadata"]["name"])
    if damaged and file.name in damaged:
        return _damaged(file, wish, job, damaged[file.name])
    if job is None:
        return _without_job(observed, file, wish)
    orphan = is_lost(observed, job)
    ours = orphan or is_ours(job, uid=observed.bundle.metadata.uid)
    if not ours or job["metadata"].get("deletionTimestamp"):
        before = told(observed, file)
        if before is not None and before.state in ("Verified", "Failed"):
            return FileDecision(before)
        return FileDecision(
            _status(file, wish, "Pending", Reason.WAITING_FOR_DELETION, "an earlier Job is being removed")
        )
    if orphan and _is_of_another_wish(job, wish):
        return FileDecision(
            _status(file, wish, "Pending", Reason.JOB_REPLACED, "the Job has lost its owner and is replaced"),
            Action.REPLACE,
        )
    decision = _with_job(observed, file, job, wish)
    if orphan and decision.action is Action.NOTHING:
        return replace(decision, action=Action.ADOPT)
    return decision


def queued(decision: FileDecision, parallelism: int) -> FileDecision:
    """A file that waits until another has been fetched."""
    if decision.status.state == "Failed":
        return FileDecision(decision.status)
    status = decision.status.model_copy(
        update={
            "reason": Reason.QUEUED.value,
            "message": f"waits for its turn: {parallelism} at a time (spec.fetch.parallelism)",
        }
    )
    return FileDecision(status)


def held_back(decision: FileDecision, job: str) -> FileDecision:
    """A file whose place may be tidied at this moment."""
    status = decision.status.model_copy(
        update={
            "reason": Reason.WAITING_FOR_DELETION.value,
            "message": f"Job {job}, which tidies the volume, is ending",
        }
    )
    return FileDecision(status)


def refused(decision: FileDecision, words: str) -> FileDecision:
    """A file whose Job the API server does not take."""
    if decision.status.state == "Verified":
        return decision
    update = {"state": "Pending", "reason": Reason.CHILD_REJECTED.value, "message": words[:4000]}
    return FileDecision(decision.status.model_copy(update=update), stuck=True)


def is_repairable(decision: FileDecision, live: Object) -> bool:
    """Whether a Job at work should be as it was made; what is done is left alone."""
    return decision.action is Action.NOTHING and not is_finished(live)


def remembered(observed: Observed, refused: Verdict) -> list[FileStatus]:
    """What is said about the files while the bundle cannot be worked on: only what is still known."""
    if not claim_stays(observed):
        return [
            FileStatus(name=file.name, reason=refused.reason, message="its volume is going or gone")
            for file in observed.bundle.spec.files
        ]
    return [told(observed, file) or FileStatus(name=file.name) for file in observed.bundle.spec.files]


def _damaged(file: BundleFile, wish: Object, job: Object | None, reason: str) -> FileDecision:
    words = {
        "Lost": "it is no longer on the volume",
        "Altered": "its bytes on the volume are no longer those that were verified",
    }
    status = _status(
        file, wish, "Pending", reason, f"{words.get(reason, 'it is damaged')}; it is fetched again"
    )
    # Created by the next pass, when this status is stored.
    return FileDecision(status, Action.REPLACE if job is not None else Action.NOTHING)


def _without_job(observed: Observed, file: BundleFile, wish: Object) -> FileDecision:
    before = told(observed, file)
    if before is not None and before.state == "Verified":
        return FileDecision(before)
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
    if before is not None and (before.state == "Failed" or before.reason in ("Lost", "Altered")):
        # Said until the next Job knows better.
        return FileDecision(before, Action.CREATE)
    return FileDecision(_status(file, wish, "Pending"), Action.CREATE)


def _with_job(observed: Observed, file: BundleFile, job: Object, wish: Object) -> FileDecision:
    if annotation(job, names.ANNOTATION_CLAIM_UID) != annotation(wish, names.ANNOTATION_CLAIM_UID):
        return FileDecision(
            _status(
                file, wish, "Pending", Reason.VOLUME_REPLACED, "the volume is new; the file is fetched again"
            ),
            Action.REPLACE,
        )
    if condition(job, "Complete") is not None:
        return _completed(observed, file, job, wish)
    if _is_of_another_wish(job, wish):
        # The spec's ways to fetch, or the operator's settings, changed: what waits or failed may work now.
        return FileDecision(
            _status(file, wish, "Pending", Reason.JOB_REPLACED, "the Job is made anew with today's settings"),
            Action.REPLACE,
        )
    failed = condition(job, "Failed")
    if failed is not None:
        return _failed(observed, file, job, wish, failed)
    return _underway(observed, file, job, wish)


def _completed(observed: Observed, file: BundleFile, job: Object, wish: Object) -> FileDecision:
    ended = success(observed, job)
    if ended is not None:
        return _told(file, wish, verdicts.read(ended))
    before = told(observed, file)
    if before is not None and before.state == "Verified":
        return FileDecision(before)
    # The pod is gone with its verdict (a node was removed). The fetcher verifies what is on the volume.
    return FileDecision(
        _status(file, wish, "Pending", Reason.VERDICT_LOST, "the fetch pod is gone; it is verified again"),
        Action.REPLACE,
    )


def _failed(
    observed: Observed, file: BundleFile, job: Object, wish: Object, failed: Mapping[str, Any]
) -> FileDecision:
    found = outcome(observed, job) or verdicts.Failed(
        state="Failed",
        reason=failed.get("reason") or Reason.JOB_FAILED.value,
        message=failed.get("message") or "the Job failed",
        retryable=True,
    )
    count = failures(observed, file, job) + 1
    status = _told(file, wish, found).status.model_copy(update={"failures": count})
    since = pods.parse_time(failed.get("lastTransitionTime") or "")
    if since is None or not (found.retryable or found.reason in MENDED_ELSEWHERE):
        return FileDecision(status)
    wait = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(count - 1, 16))
    # The source is asked no earlier than it wants.
    wait = max(wait, min(found.retry_after or 0.0, LONGEST_RETRY_AFTER))
    due = since + datetime.timedelta(seconds=wait)
    status = status.model_copy(update={"retry_at": timestamp(due)})
    return FileDecision(status, Action.REPLACE if observed.now >= due else Action.NOTHING)


def _told(file: BundleFile, wish: Object, found: verdicts.Verified | verdicts.Failed) -> FileDecision:
    if isinstance(found, verdicts.Failed):
        return FileDecision(_status(file, wish, "Failed", found.reason, found.message))
    status = FileStatus(
        name=file.name,
        state="Verified",
        size=found.size,
        sha256=found.sha256,
        source_sha256=found.source_sha256,
        type=found.type,
        family=found.family or None,
        rank=found.rank,
        path=found.path,
        source=found.source,
        job=wish["metadata"]["name"],
    )
    return FileDecision(status)


def _underway(observed: Observed, file: BundleFile, job: Object, wish: Object) -> FileDecision:
    own = observed.pods_of(job)
    # Told while the next try waits and while it runs, so that the status does not swing between the two.
    failure = outcome(observed, job)
    for pod in reversed(own):
        if pods.termination(pod) is not None:
            continue
        trouble = pods.trouble(pod) or observed.warnings.get(pod["metadata"]["uid"])
        if trouble is not None and verdicts.evicted(pod) is None:
            return FileDecision(
                _status(file, wish, "Pending", trouble.reason, trouble.message), stuck=trouble.permanent
            )
        if pods.is_running(pod) and failure is None:
            return _tried_again(observed, file, job) or FileDecision(_status(file, wish, "Fetching"))
    if failure is not None and not failure.retryable:
        # The Job's own word for it comes later, and is the same.
        status = _told(file, wish, failure).status
        return FileDecision(status.model_copy(update={"failures": failures(observed, file, job) + 1}))
    if failure is not None:
        words = f"{failure.reason}: {failure.message}; it is tried again"
        return FileDecision(_status(file, wish, "Fetching", Reason.RETRYING, words))
    before = _tried_again(observed, file, job)
    if before is not None:
        return before
    warning = observed.warnings.get(job["metadata"]["uid"])
    if warning is not None:
        return FileDecision(_status(file, wish, "Pending", warning.reason, warning.message))
    return FileDecision(_status(file, wish, "Pending"))


def _tried_again(observed: Observed, file: BundleFile, job: Object) -> FileDecision | None:
    """What was said of a file that failed before, until its next Job knows better."""
    before = told(observed, file)
    if before is None or before.state != "Failed" or not failures(observed, file, job):
        return None
    got_on = observed.progress.get(job["metadata"]["name"])
    return None if got_on is not None and got_on.bytes > 0 else FileDecision(before)


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


def _is_of_another_wish(job: Object, wish: Object) -> bool:
    return annotation(job, names.ANNOTATION_APPLIED) != annotation(wish, names.ANNOTATION_APPLIED)
