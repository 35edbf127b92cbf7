"""POST /internal/progress and GET /internal/pending-tasks: a task by the name that its client gave it."""

from typing import Annotated

from pydantic import BaseModel, Field

from sd_runtime.a1111.fields import Served
from sd_runtime.a1111.schemas.body import Body


class TaskProgressRequest(Body):
    """POST /internal/progress."""

    id_task: Annotated[str, Field(max_length=256), Served("the force_task_id of a request")] = ""
    id_live_preview: Annotated[int, Served("of the preview that the client has; it is not sent again")] = -1
    live_preview: Annotated[bool, Served("false: no preview")] = True


class TaskProgress(BaseModel):
    """Where a task stands. `live_preview` is a data: URI; `eta` in seconds."""

    active: bool
    queued: bool
    completed: bool
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = None
    id_live_preview: int | None = None
    textinfo: str | None = None


class TasksWaiting(BaseModel):
    """The tasks with a name that wait for their first step, oldest first."""

    size: int
    tasks: list[str]
