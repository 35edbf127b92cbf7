"""A1111's progress numbers, told of one job: the oldest unfinished one of this replica."""

from typing import Any

from pydantic import BaseModel

from sd_runtime.jobs.job import Job

#: A1111 begins here, so that a bar is seen as soon as the work is accepted.
_BEGUN = 0.01


class Progress(BaseModel):
    """GET /sdapi/v1/progress. `current_image` is always null: previews are not made."""

    progress: float
    eta_relative: float
    state: dict[str, Any]
    current_image: str | None = None
    textinfo: str | None = None


def describe(job: Job | None, now: float) -> Progress:
    """How far the job is at this time of the queue's clock; 0 and no jobs when there is none."""
    if job is None:
        return Progress(progress=0.0, eta_relative=0.0, state=_state(None))
    count = len(job.iterations)
    within = sum(job.steps_done) / (len(job.steps_done) * job.steps) if job.steps_done else 0.0
    progress = min(_BEGUN + (job.iteration + within) / count, 1.0)
    elapsed = now - (job.accepted_at if job.started_at is None else job.started_at)
    return Progress(progress=progress, eta_relative=elapsed / progress - elapsed, state=_state(job))


def _state(job: Job | None) -> dict[str, Any]:
    """The nine keys of A1111's `state`; the step is that of the slowest picture of the iteration."""
    return {
        "skipped": job.skipped if job else False,
        "interrupted": job.interrupted if job else False,
        "stopping_generation": False,
        "job": f"Batch {job.iteration + 1} out of {len(job.iterations)}" if job else "",
        "job_count": len(job.iterations) if job else 0,
        "job_timestamp": job.timestamp.strftime("%Y%m%d%H%M%S") if job else "0",
        "job_no": job.iteration if job else 0,
        "sampling_step": min(job.steps_done, default=0) if job else 0,
        "sampling_steps": job.steps if job else 0,
    }
