"""Engines that the test plays: one honours the contract, one breaks a point of it. No network, no torch."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sd_runtime.engine.work import Made, OnStep, Pixels, Step
from sd_runtime.errors import Cancelled, UnsupportedError
from sd_runtime.models import LoadedCheckpoint


@dataclass(frozen=True)
class SmallTask:
    """What jobs know of a picture that is to be made."""

    seed: int = 0
    steps: int = 4
    checkpoint: Path | None = None

    def run(self, model, on_step):
        raise AssertionError("the engines here make nothing")


def picture_of(task: SmallTask) -> Made:
    """A picture that tells its seed: every value is the seed's last byte."""
    return Made(np.full((64, 64, 3), task.seed % 256, dtype=np.uint8))


class ManualTicket:
    """A picture that the test finishes, step by step."""

    def __init__(self, task: SmallTask, on_step: OnStep | None, request: Hashable) -> None:
        self.task = task
        self.request = request
        self.future: Future[Made] = Future()
        self.future.set_running_or_notify_cancel()
        self.loaded: LoadedCheckpoint | None = None
        self._on_step = on_step
        self.taken_back = False
        self.interrupted = False

    def step(self, done: int, *, part: int = 0, parts: int = 1, denoised: object = None) -> None:
        if self._on_step:
            self._on_step(Step(done, self.task.steps, part, parts, denoised))

    def finish(self, **made: object) -> None:
        self.future.set_result(Made(picture_of(self.task).pixels, **made))

    def fail(self, error: Exception) -> None:
        self.future.set_exception(error)

    def cancel(self) -> None:
        self.taken_back = True
        if not self.future.done():
            self.future.set_exception(Cancelled("taken back"))

    def interrupt(self) -> None:
        """The engine hears of it between two calls: the test says what comes of it."""
        self.interrupted = True


class ManualEngine:
    """Keeps what was handed in; nothing is computed until the test says so."""

    def __init__(self) -> None:
        self.tickets: list[ManualTicket] = []
        self.previewed: list[ManualTicket] = []

    def submit(
        self, task: SmallTask, *, on_step: OnStep | None = None, request: Hashable | None = None
    ) -> ManualTicket:
        ticket = ManualTicket(task, on_step, request)
        self.tickets.append(ticket)
        return ticket

    def preview(self, ticket: ManualTicket) -> Future[Pixels | None]:
        self.previewed.append(ticket)
        future: Future[Pixels | None] = Future()
        future.set_result(picture_of(ticket.task).pixels)
        return future

    @property
    def open(self) -> list[ManualTicket]:
        return [ticket for ticket in self.tickets if not ticket.future.done()]


class RefusingEngine(ManualEngine):
    """Refuses the second picture of a request when it is handed in."""

    def submit(
        self, task: SmallTask, *, on_step: OnStep | None = None, request: Hashable | None = None
    ) -> ManualTicket:
        if self.tickets:
            raise UnsupportedError("width", 64, "less")
        return super().submit(task, on_step=on_step, request=request)


@pytest.fixture
def manual_engine() -> ManualEngine:
    return ManualEngine()


@pytest.fixture
def refusing_engine() -> RefusingEngine:
    return RefusingEngine()


@pytest.fixture
def task() -> Callable[..., SmallTask]:
    """A small task; any field can be given."""
    return SmallTask
