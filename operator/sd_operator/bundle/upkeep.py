"""Decides when the volume is looked after, and what came of it. Pure.

One Job at a time hashes the verified files anew and removes those that left the spec. What it found counts
once: a verification is written down by its Job's name, a removal by the file's absence from the status. Then
the Job is deleted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sd_operator import names, pods
from sd_operator.api.bundle import BundleFile, FileStatus, seconds
from sd_operator.api.bundle_status import LeavingFile, VerificationStatus
from sd_operator.api.conditions import State
from sd_operator.bundle.jobs import outcome, stuck_by, success
from sd_operator.bundle.leaving import removable
from sd_operator.bundle.observe import Observed, annotation, condition, is_finished
from sd_operator.bundle.verdict import Failed, Kept, read_kept
from sd_operator.cluster import Object

#: A Job that failed is begun anew after this many seconds.
RETRY_SECONDS = 600.0
#: As much of the annotation's value is looked at.
MOST_ASKED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Work for a Job: what it is asked, and the occasion, by which the same work later is another Job."""

    request: dict[str, Any]
    occasion: str
    #: Value of the annotation that it answers.
    asked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the Job that has ended found, where that is not written down yet."""

    job: Object
    verified: bool
    kept: Kept
    time: str


def found(observed: Observed) -> Found | None:
    """The news of a Job that is complete."""
    for job in observed.upkeep:
        complete = condition(job, "Complete")
        ended = success(observed, job) if complete is not None else None
        if complete is None or ended is None:
            continue
        kept = read_kept(ended)
        if not isinstance(kept, Kept):
            continue
        verified = bool(_request(job).get("verify"))
        if _is_written(observed, job, verified, kept):
            continue
        time = str(complete.get("lastTransitionTime") or job["metadata"].get("creationTimestamp"))
        return Found(job=job, verified=verified, kept=kept, time=time)
    return None


def _is_written(observed: Observed, job: Object, verified: bool, kept: Kept) -> bool:
    status = observed.bundle.status
    known = status.verification.job if status.verification is not None else None
    told = not verified or known == job["metadata"]["name"]
    return told and not {each.path for each in status.leaving} & set(kept.removed)


def damaged(news: Found | None) -> dict[str, str]:
    """Files that are not as they were verified, and why."""
    if news is None or not news.verified:
        return {}
    return {each.name: each.reason for each in news.kept.bad}


def verification(observed: Observed, news: Found | None) -> VerificationStatus | None:
    """The last verification."""
    if news is None or not news.verified:
        return observed.bundle.status.verification if observed.same_volume else None
    return VerificationStatus(
        time=news.time,
        damaged=len(news.kept.bad),
        requested=annotation(news.job, names.ANNOTATION_VERIFY),
        job=news.job["metadata"]["name"],
    )


def wish(observed: Observed, files: Iterable[FileStatus], gone: Iterable[LeavingFile]) -> Wish | None:
    """What there is to do on the volume now; nothing while files arrive or a Job is at work."""
    statuses = list(files)
    if observed.upkeep or any(status.state == "Fetching" for status in statuses):
        return None
    verified = [status for status in statuses if status.state == "Verified"]
    due = bool(verified) and _is_due(observed)
    leave = removable(observed, gone)
    if not due and not leave:
        return None
    request: dict[str, Any] = {
        "bundle": observed.bundle.metadata.name,
        "verify": due,
        "expect": [
            {"name": status.name, "path": status.path, "sha256": status.sha256} for status in verified
        ],
        "remove": [{"name": each.name, "path": each.path, "sha256": each.sha256} for each in leave],
    }
    last = observed.bundle.status.verification
    occasion = [last.time if last is not None else "", *(each.since for each in leave)]
    asked = observed.asked[:MOST_ASKED] if due and observed.asked else None
    return Wish(request=request, occasion=" ".join(occasion), asked=asked)


def _is_due(observed: Observed) -> bool:
    last = observed.bundle.status.verification if observed.same_volume else None
    if observed.asked and observed.asked[:MOST_ASKED] != (last.requested if last is not None else None):
        return True
    interval = seconds(observed.bundle.spec.verify.interval)
    since = pods.parse_time(last.time if last is not None else _ready_since(observed) or observed.made)
    return interval > 0 and since is not None and (observed.now - since).total_seconds() >= interval


def _ready_since(observed: Observed) -> str:
    return next(
        (
            each.last_transition_time
            for each in observed.bundle.status.conditions
            if each.type == State.READY.value and each.status == "True"
        ),
        "",
    )


def obsolete(observed: Observed, news: Found | None) -> list[Object]:
    """Jobs that have nothing more to tell, those that are to be tried again, and those that would remove what
    is in the spec again."""
    return [
        job
        for job in observed.upkeep
        if not job["metadata"].get("deletionTimestamp")
        and (news is None or job is not news.job)
        and (_is_done(observed, job) if is_finished(job) else _removes_the_wished(observed, job))
    ]


def _is_done(observed: Observed, job: Object) -> bool:
    return condition(job, "Failed") is None or _is_past(observed, job)


def _removes_the_wished(observed: Observed, job: Object) -> bool:
    return any(removes(observed, job, file) for file in observed.bundle.spec.files)


def removes(observed: Observed, job: Object, file: BundleFile) -> bool:
    """Whether a Job was told to remove the place of a file, as far as that is known."""
    place = observed.bundle.place_of(file)
    going = _request(job).get("remove") or ()
    return any(each["path"] == place or (place is None and each["name"] == file.name) for each in going)


def at_work_on(observed: Observed, file: BundleFile) -> str | None:
    """The Job that may be removing the place of a file just now: it is not fetched before that is over."""
    alive = {pods.owner_uid(pod) for pod in observed.pods if not pods.is_finished(pod)}
    for job in observed.upkeep:
        unfinished = not is_finished(job) or job["metadata"]["uid"] in alive
        if unfinished and removes(observed, job, file):
            name: str = job["metadata"]["name"]
            return name
    return None


def trouble(observed: Observed) -> str | None:
    """Why the volume could not be looked after."""
    for job in observed.upkeep:
        stuck = None if is_finished(job) else stuck_by(observed, job)
        if stuck is not None:
            return untended(f"{stuck.reason}: {stuck.message}")
        failed = condition(job, "Failed")
        if failed is not None:
            words = outcome(observed, job) or _failure(observed, job)
            told = f"{words.reason}: {words.message}" if words is not None else str(failed.get("message"))
            return untended(told)
    return None


def untended(words: str) -> str:
    """What is said of a volume that cannot be looked after."""
    return f"the files on the volume could not be looked after: {words}"


def _failure(observed: Observed, job: Object) -> Failed | None:
    for pod in reversed(observed.pods_of(job)):
        ended = pods.termination(pod)
        told = read_kept(ended) if ended is not None else None
        if isinstance(told, Failed):
            return told
    return None


def _is_past(observed: Observed, job: Object) -> bool:
    failed = condition(job, "Failed") or {}
    since = pods.parse_time(failed.get("lastTransitionTime") or "")
    return since is not None and (observed.now - since).total_seconds() >= RETRY_SECONDS


def _request(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a Job was asked."""
    for container in job["spec"]["template"]["spec"]["containers"]:
        for variable in container.get("env") or ():
            if variable["name"] == "SD_FETCH_UPKEEP":
                asked: Mapping[str, Any] = json.loads(variable["value"])
                return asked
    return {}
