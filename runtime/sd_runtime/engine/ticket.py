"""What the caller holds for a task it handed in, and where the engine reports what it did. Importable
without torch.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Protocol

from sd_runtime.engine.work import Made, OnStep, Step, Task
from sd_runtime.models import LoadedCheckpoint


class Observer(Protocol):
    """Where the engine reports what it did; called on the device thread, must be quick and not raise."""

    def unet_call(self, *, rows: int, requests: int, seconds: float) -> None:
        """One network call was made: its rows, how many distinct requests they served, how long it took."""
        ...

    def memory_ran_out(self) -> None:
        """The device had too little memory for a piece of work; it is tried again in smaller pieces."""
        ...


class Ticket:
    """A task that was handed in: what becomes of it, and two ways to end it."""

    def __init__(
        self,
        task: Task,
        on_step: OnStep | None,
        request: Hashable | None,
        poke: Callable[[], None] = lambda: None,
    ) -> None:
        self.task = task
        self.on_step = on_step
        self.request: Hashable = id(self) if request is None else request
        self.future: Future[Made] = Future()
        # Running from the start: `cancel` below is the only way to cancel, and the device thread alone
        # settles it.
        self.future.set_running_or_notify_cancel()
        #: The checkpoint that it began with, once it has begun.
        self.loaded: LoadedCheckpoint | None = None
        #: Where it stands: written by the device thread, None before the first step and after the end.
        self.last_step: Step | None = None
        self._poke = poke
        self._cancelled = threading.Event()
        self._interrupted = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._interrupted.is_set()

    @property
    def is_to_end(self) -> bool:
        """Whether nobody waits for more of it."""
        return self.cancelled or self.interrupted

    def cancel(self) -> None:
        """Give the task up: before its next piece of work it ends, and its future raises `Cancelled`."""
        self._cancelled.set()
        self._poke()

    def interrupt(self) -> None:
        """End the task early: its future becomes the picture that there is by then, or raises `Cancelled`
        where there is none yet."""
        self._interrupted.set()
        self._poke()
