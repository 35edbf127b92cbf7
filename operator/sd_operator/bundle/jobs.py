"""What a bundle's Jobs are and have said, and which of them there should be. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sd_operator import names, pods
from sd_operator.api import fetching
from sd_operator.api.bundle import BundleFile, FileStatus
from sd_operator.bundle import verdict as verdicts
from sd_operator.bundle.observe import Observed, annotation, condition, is_finished
from sd_operator.cluster import Object
from sd_operator.manifests import is_orphan, is_ours

#: A Job that is done is kept this long for whoever wants to read its log.
KEEP_SECONDS = 3600.0


def told(observed: Observed, file: BundleFile) -> FileStatus | None:
    """What the stored status says about this very wish, on this very volume."""
    return fetching.told(observed.bundle, file) if observed.same_volume else None


def failures(observed: Observed, file: BundleFile, job: Object | None) -> int:
    """How many Jobs for this wish failed in a row before the one that lives or is made next."""
    if job is not None:
        told_on_it = annotation(job, names.ANNOTATION_FAILURES) or ""
        return int(told_on_it) if re.fullmatch("[0-9]{1,6}", told_on_it) else 0
    before = told(observed, file)
    return (before.failures or 0) if before is not None else 0


def job_name(observed: Observed, file: BundleFile) -> str:
    """The name of the file's Job."""
    return fetching.job_name(observed.bundle, file)


def is_placed(observed: Observed, job: Object) -> bool:
    """Whether a pod of the Job has, or had, a node."""
    return any((pod.get("spec") or {}).get("nodeName") for pod in observed.pods_of(job))


def free_slots(observed: Observed) -> int:
    """How many more files may be fetched at the same time."""
    running = sum(not is_finished(job) and stuck_by(observed, job) is None for job in observed.jobs.values())
    return observed.bundle.spec.fetch.parallelism - running


def stuck_by(observed: Observed, job: Object) -> pods.Trouble | None:
    """Why a Job that is not finished does not get to work."""
    for pod in reversed(observed.pods_of(job)):
        if pods.termination(pod) is None and not pods.is_running(pod):
            found = pods.trouble(pod) or observed.warnings.get(pod["metadata"]["uid"])
            if found is not None:
                return found
    return observed.warnings.get(job["metadata"]["uid"])


def makes_something(observed: Observed) -> bool:
    """Whether a child is missing."""
    bundle = observed.bundle
    return observed.claim is None or any(
        fetching.job_name(bundle, file) not in observed.jobs and not _is_known(observed, file)
        for file in bundle.spec.files
    )


def verdicts_lost(observed: Observed) -> bool:
    """Whether a Job is complete and no pod, as it is known, tells what it did, nor was it written down."""
    bundle = observed.bundle
    fetched = any(
        job is not None
        and condition(job, "Complete") is not None
        and success(observed, job) is None
        and not _is_known(observed, file)
        for file in bundle.spec.files
        for job in [observed.jobs.get(fetching.job_name(bundle, file))]
    )
    return fetched or any(
        condition(job, "Complete") is not None and success(observed, job) is None for job in observed.upkeep
    )


def _is_known(observed: Observed, file: BundleFile) -> bool:
    before = told(observed, file)
    return before is not None and before.state == "Verified"


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
    return [] if claim_stays(observed) else all_jobs(observed)


def all_jobs(observed: Observed) -> list[Object]:
    """Every Job of the bundle that is not going already."""
    return _own(observed, (*observed.jobs.values(), *observed.upkeep))


def obsolete_jobs(observed: Observed, wished: frozenset[str]) -> list[Object]:
    """Jobs of files that changed or left the spec, and those whose work was written down a while ago."""
    known = {status.job for status in observed.bundle.status.files if status.state == "Verified"}
    return _own(
        observed,
        [
            job
            for name, job in observed.jobs.items()
            if name not in wished or (name in known and _ended_long_ago(observed, job))
        ],
    )


def _own(observed: Observed, jobs: Iterable[Object]) -> list[Object]:
    return [
        job
        for job in jobs
        if (is_ours(job, uid=observed.bundle.metadata.uid) or is_lost(observed, job))
        and not job["metadata"].get("deletionTimestamp")
    ]


def _ended_long_ago(observed: Observed, job: Object) -> bool:
    complete = condition(job, "Complete")
    since = pods.parse_time((complete or {}).get("lastTransitionTime") or "")
    return since is not None and (observed.now - since).total_seconds() >= KEEP_SECONDS


def success(observed: Observed, job: Object) -> Mapping[str, Any] | None:
    """How the pod that did a Job's work ended."""
    for pod in reversed(observed.pods_of(job)):
        ended = pods.termination(pod)
        if ended is not None and ended.get("exitCode") == 0:
            return ended
    return None


def outcome(observed: Observed, job: Object) -> verdicts.Failed | None:
    """Why the last pod of a Job failed, as far as it or its node could say."""
    for pod in reversed(observed.pods_of(job)):
        found = verdicts.evicted(pod) or _failure(pod)
        if found is not None:
            return found
    return None


def _failure(pod: Object) -> verdicts.Failed | None:
    ended = pods.termination(pod)
    found = verdicts.read(ended) if ended is not None else None
    return found if isinstance(found, verdicts.Failed) else None


def is_lost(observed: Observed, job: Object) -> bool:
    return is_orphan(job, label=names.LABEL_SD_BUNDLE, owner=observed.bundle.metadata.name)
