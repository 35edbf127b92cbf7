"""A1111's progress numbers, told of one job: the oldest unfinished one of this replica, or the one that a
client named."""

from typing import Any

from pydantic import BaseModel

from sd_runtime.jobs.job import Job

#: A1111 begins here, so that a bar is seen as soon as the work is accepted.
_BEGUN = 0.01


class Progress(BaseModel):
    """GET /sdapi/v1/progress. `current_image` is a picture under way, small: base64 PNG, null where there is
    none to show yet."""

    progress: float
    eta_relative: float
    state: dict[str, Any]
    current_image: str | None = None
    textinfo: str | None = None


def describe(job: Job | None, now: float, *, eta: float | None = None, image: str | None = None) -> Progress:
    """How far the job is at this time of the queue's clock; 0 and no jobs when there is none. `eta` is in
    seconds, where it was measured."""
    if job is None:
        return Progress(progress=0.0, eta_relative=0.0, state=_state(None))
    progress = share_of(job)
    elapsed = now - (job.accepted_at if job.started_at is None else job.started_at)
    guess = elapsed / progress - elapsed
    return Progress(
        progress=progress,
        eta_relative=guess if eta is None else eta,
        state=_state(job),
        current_image=image,
    )


def share_of(job: Job) -> float:
    """How much of the job is done, by A1111's formula: 0.01 to 1."""
    return min(_BEGUN + job.progress, 1.0)


def title_of(job: Job) -> str:
    """What A1111 calls the iteration under way."""
    return f"Batch {job.iteration + 1} out of {len(job.iterations)}"


def _state(job: Job | None) -> dict[str, Any]:
    """The nine keys of A1111's `state`; the step is that of the slowest picture of the iteration."""
    slowest = job.slowest if job else None
    return {
        "skipped": job.skipped if job else False,
        "interrupted": job.interrupted if job else False,
        "stopping_generation": False,
        "job": title_of(job) if job else "",
        "job_count": len(job.iterations) if job else 0,
        "job_timestamp": job.timestamp.strftime("%Y%m%d%H%M%S") if job else "0",
        "job_no": job.iteration if job else 0,
        "sampling_step": slowest.done if slowest else 0,
        "sampling_steps": slowest.of if slowest else 0,
    }
