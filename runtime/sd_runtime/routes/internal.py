"""A1111's routes that tell of a task by the name its client gave it (force_task_id), as its page asks."""

import base64

from fastapi import APIRouter

from sd_runtime.a1111 import progress
from sd_runtime.a1111.schemas import TaskProgress, TaskProgressRequest, TasksWaiting
from sd_runtime.a1111.schemas.body import MAX_STEPS
from sd_runtime.jobs.job import Job
from sd_runtime.routes import previews
from sd_runtime.routes.reading import JsonRoute
from sd_runtime.routes.services import Services, ServicesDep

router = APIRouter(prefix="/internal", tags=["internal"], route_class=JsonRoute)

#: More passes than a picture has.
_PARTS = 16


@router.post("/progress")
async def task_progress(body: TaskProgressRequest, services: ServicesDep) -> TaskProgress:
    """Where the task stands, and how its picture looks if that is another look than the client has."""
    job = services.queue.find(body.id_task)
    if job is None:
        ended = services.queue.has_ended(body.id_task)
        return _waiting("Waiting...", queued=False, completed=ended)
    place = services.queue.position(job)
    if place:
        return _waiting(f"In queue: {place}/{services.queue.waiting()}", queued=True, completed=False)
    look = _look(job)
    preview = None
    if body.live_preview and body.id_live_preview != look:
        preview = await _preview(services, job)
    return TaskProgress(
        active=True,
        queued=False,
        completed=False,
        progress=job.progress,
        eta=services.queue.eta(job),
        live_preview=preview,
        id_live_preview=body.id_live_preview if preview is None else look,
        textinfo=progress.title_of(job),
    )


@router.get("/pending-tasks")
async def pending_tasks(services: ServicesDep) -> TasksWaiting:
    """The tasks that wait for their first step."""
    queue = services.queue
    names = [job.label for job in queue.unfinished() if job.label and queue.position(job)]
    return TasksWaiting(size=len(names), tasks=names)


def _waiting(sentence: str, *, queued: bool, completed: bool) -> TaskProgress:
    return TaskProgress(
        active=False, queued=queued, completed=completed, id_live_preview=-1, textinfo=sentence
    )


def _look(job: Job) -> int:
    """A number that changes with each step."""
    step = job.slowest
    return (job.iteration * _PARTS + step.part) * MAX_STEPS + step.done


async def _preview(services: Services, job: Job) -> str | None:
    png = await previews.png_of(services, job)
    return None if png is None else f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
