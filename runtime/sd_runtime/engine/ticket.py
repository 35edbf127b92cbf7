"""What the caller holds for a task it handed in, and where the engine reports what it did. Importable
without torch.
"""

import threading
from collections.abc import Hashable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from sd_runtime.engine.work import OnStep, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Observer(Protocol):
    """Where the engine reports what it did; called on the device thread, must be quick and not raise."""

    def unet_call(self, *, rows: int, requests: int, seconds: float) -> None:
        """One network call was made: its rows, how many distinct requests they served, how long it took."""
        ...


class Ticket:
    """A task that was handed in: its future picture (uint8, height x width x 3) and a way to take it back."""

    def __init__(self, task: Task, on_step: OnStep | None, request: Hashable | None) -> None:
        self.task = task
        self.on_step = on_step
        self.request: Hashable = id(self) if request is None else request
        self.future: Future[npt.NDArray[np.uint8]] = Future()
        # Running from the start: `cancel` below is the only way to cancel, and the device thread alone
        # settles it.
        self.future.set_running_or_notify_cancel()
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Give the task up: before its next piece of work it ends, and its future raises `Cancelled`."""
        self._cancelled.set()
