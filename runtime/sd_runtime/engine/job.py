"""A task under way: its generator, the work it waits for, and how it ends. Device thread only."""

import logging
from collections.abc import Generator
from concurrent.futures import Future
from pathlib import Path

from sd_runtime.adapters.patching import Pinned
from sd_runtime.adapters.uses import AdapterUse
from sd_runtime.engine import memory
from sd_runtime.engine.ticket import Ticket
from sd_runtime.engine.work import (
    Apart,
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
from sd_runtime.models.controlnet import ControlNet
from sd_runtime.models.network import Model

logger = logging.getLogger(__name__)

#: While a task waits for these it has not come to its picture yet, and can be asked to end early. What
#: another process does may take as long as that likes.
_BEFORE_THE_PICTURE = (Apart, Encode, Evaluate, UseCheckpoint)


class Job:
    """Advances one task and settles its ticket; whatever goes wrong in it ends this job and no other."""

    def __init__(self, ticket: Ticket, model: Model | None) -> None:
        """`model` is None for a task that needs no checkpoint."""
        self.ticket = ticket
        self.needs_checkpoint = model is not None
        #: None while the task waits for another checkpoint, so that its own need not stay in memory.
        self.model = model
        self.work: Work | None = None  # None: settled
        #: Its adapters as they were when they were first needed; a file that changes does not change it.
        self.pinned: dict[tuple[AdapterUse, ...], Pinned] = {}
        #: Its ControlNets likewise, each with the model that it was found to fit.
        self.controlnets: dict[Path, tuple[ControlNet, Model]] = {}
        #: The work on its picture, where that is under way tile by tile.
        self.tiles: Generator[None, None, object] | None = None
        #: What another thread does for it while it waits for an evaluation.
        self.meanwhile: Future[None] | None = None
        #: What ended it, where it failed.
        self.error: Exception | None = None
        self._told_to_end = False
        #: The checkpoint that it had before the one it waits for.
        self._former = model.loaded.path if model else None
        #: What the task asked for when it was told to end while it had no checkpoint.
        self._put_off: Work | None = None
        self._run: TaskRun = ticket.task.run(model, self._report_step)  # type: ignore[arg-type]
        ticket.loaded = model.loaded if model else None
        self.advance(None)

    def advance(self, answer: object) -> None:
        """Send the answer to the work it waits for; afterwards it waits for new work or is settled."""
        try:
            self._end_meanwhile()
            self.work = self._run.send(answer)
        except StopIteration as finished:
            self._settle(finished.value)
        # The outermost guard of a job: a task's defect must not end the thread that serves all others.
        except Exception as error:  # noqa: BLE001
            self.fail(error)
        if isinstance(self.work, UseCheckpoint) and self.model is not None:
            self._former = self.model.loaded.path
            self._let_go()

    def use(self, model: Model) -> None:
        """The checkpoint that the task waits for."""
        self.model = model
        if self._put_off is None:
            self.advance(model)
        else:
            self.work, self._put_off = self._put_off, None

    def fail(self, error: Exception) -> None:
        """End with an error; one that was not raised on purpose is logged with its traceback and wrapped."""
        self._end()
        self._run.close()
        if not isinstance(error, SdError):
            logger.error("a task failed unexpectedly", exc_info=error)
            sentence = f"the picture could not be computed: {type(error).__name__}: {error}"
            told: Exception = GenerationError(sentence)
        else:
            told = error
        # Whoever keeps the error would keep everything that was computed up to it.
        memory.forget_traceback(error)
        self.error = error
        self.ticket.future.set_exception(told)

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
            self._end_meanwhile()
            self.work = self._run.throw(Interrupted())
        except StopIteration as finished:
            self._settle(finished.value)
        except Interrupted:
            self.fail(Cancelled("the request was interrupted before there was a picture"))
        except Exception as error:  # noqa: BLE001 - as in `advance`
            self.fail(error)
        if self.model is None and self._former is not None and self.work is not None:
            # It was waiting for another checkpoint; its picture is made with the one before.
            self.work, self._put_off = UseCheckpoint(self._former), self.work

    def _end_meanwhile(self) -> None:
        """The task goes on: what is done for it elsewhere has to be over, or is left to itself where it was
        not begun."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None and not meanwhile.cancel():
            meanwhile.result()

    def _settle(self, made: Made) -> None:
        self._end()
        self.ticket.future.set_result(made)

    def _end(self) -> None:
        self.work = None
        if self.meanwhile is not None:
            self.meanwhile.cancel()
        self._let_go()
        self.controlnets.clear()
        self.ticket.last_step = None

    def _let_go(self) -> None:
        """Of everything in the device's memory that goes with a checkpoint."""
        self.model = None
        self.pinned.clear()
        self.tiles = None

    def _report_step(self, step: Step) -> None:
        self.ticket.last_step = step
        if self.ticket.on_step is not None:
            self.ticket.on_step(step)
