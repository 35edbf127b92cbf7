"""A task under way: its generator, the work it waits for, and how it ends. Device thread only."""

import logging

import numpy as np
import numpy.typing as npt

from sd_runtime.engine.ticket import Ticket
from sd_runtime.engine.work import TaskRun, Work
from sd_runtime.errors import Cancelled, GenerationError, SdError
from sd_runtime.models.network import Model

logger = logging.getLogger(__name__)


class Job:
    """Advances one task and settles its ticket; whatever goes wrong in it ends this job and no other."""

    def __init__(self, ticket: Ticket, model: Model) -> None:
        self.ticket = ticket
        self.work: Work | None = None  # None: settled
        self._run: TaskRun = ticket.task.run(model, self._report_step)
        self.advance(None)

    def advance(self, answer: object) -> None:
        """Send the answer to the work it waits for; afterwards it waits for new work or is settled."""
        try:
            self.work = self._run.send(answer)
        except StopIteration as finished:
            self._settle(finished.value)
        # The outermost guard of a job: a task's defect must not end the thread that serves all others.
        except Exception as error:  # noqa: BLE001
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End with an error; one that was not raised on purpose is logged with its traceback and wrapped."""
        self.work = None
        self._run.close()
        if isinstance(error, SdError):
            self.ticket.future.set_exception(error)
            return
        logger.error("a task failed unexpectedly", exc_info=error)
        wrapped = GenerationError(f"the picture could not be computed: {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        self.ticket.future.set_exception(wrapped)

    def drop_if_cancelled(self) -> None:
        """End with `Cancelled` if the ticket was taken back."""
        if self.work is not None and self.ticket.cancelled:
            self.fail(Cancelled("the request was cancelled"))

    def _settle(self, picture: npt.NDArray[np.uint8]) -> None:
        self.work = None
        self.ticket.future.set_result(picture)

    def _report_step(self, done: int, steps: int) -> None:
        if self.ticket.on_step is not None:
            self.ticket.on_step(done, steps)
