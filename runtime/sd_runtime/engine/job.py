"""A task under way: its generator, the work it waits for, and how it ends. Device thread only."""

import logging

from sd_runtime.engine.ticket import Ticket
from sd_runtime.engine.work import (
    Encode,
    Evaluate,
    Interrupted,
    Made,
    Step,
    TaskRun,
    UseCheckpoint,
    Work,
)
from sd_runtime.errors import Cancelled, GenerationError, SdError
from sd_runtime.models.network import Model

logger = logging.getLogger(__name__)

#: While a task waits for these it has not come to its picture yet, and can be asked to end early.
_BEFORE_THE_PICTURE = (Encode, Evaluate)


class Job:
    """Advances one task and settles its ticket; whatever goes wrong in it ends this job and no other."""

    def __init__(self, ticket: Ticket, model: Model) -> None:
        self.ticket = ticket
        #: None while the task waits for another checkpoint, so that its own need not stay in memory.
        self.model: Model | None = model
        self.work: Work | None = None  # None: settled
        self._told_to_end = False
        self._run: TaskRun = ticket.task.run(model, self._report_step)
        ticket.loaded = model.loaded
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
        if isinstance(self.work, UseCheckpoint):
            self.model = None

    def use(self, model: Model) -> None:
        """The checkpoint that the task waits for."""
        self.model = model
        self.advance(model)

    def fail(self, error: Exception) -> None:
        """End with an error; one that was not raised on purpose is logged with its traceback and wrapped."""
        self._end()
        self._run.close()
        if isinstance(error, SdError):
            self.ticket.future.set_exception(error)
            return
        logger.error("a task failed unexpectedly", exc_info=error)
        wrapped = GenerationError(f"the picture could not be computed: {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        self.ticket.future.set_exception(wrapped)

    def end_if_asked(self) -> None:
        """End if the ticket was taken back; let the task come to its end if that was asked for."""
        if self.work is None:
            return
        if self.ticket.cancelled:
            self.fail(Cancelled("the request was cancelled"))
        elif self.ticket.interrupted and not self._told_to_end and isinstance(self.work, _BEFORE_THE_PICTURE):
            self._tell_to_end()

    def _tell_to_end(self) -> None:
        self._told_to_end = True
        try:
            self.work = self._run.throw(Interrupted())
        except StopIteration as finished:
            self._settle(finished.value)
        except Interrupted:
            self.fail(Cancelled("the request was interrupted before there was a picture"))
        except Exception as error:  # noqa: BLE001 - as in `advance`
            self.fail(error)

    def _settle(self, made: Made) -> None:
        self._end()
        self.ticket.future.set_result(made)

    def _end(self) -> None:
        self.work = None
        self.model = None
        self.ticket.last_step = None

    def _report_step(self, step: Step) -> None:
        self.ticket.last_step = step
        if self.ticket.on_step is not None:
            self.ticket.on_step(step)
