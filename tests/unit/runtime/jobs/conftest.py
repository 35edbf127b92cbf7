"""Engines that the test plays: one honours the contract, one breaks a point of it. No network, no torch."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future

import numpy as np
import pytest

from sd_runtime.errors import Cancelled, UnsupportedError
from sd_runtime.jobs.job import Pixels
from sd_runtime.tasks.txt2img import Txt2Img


def picture_of(task: Txt2Img) -> Pixels:
    """A picture that tells its seed: every value is the seed's last byte."""
    return np.full((task.height, task.width, 3), task.seed % 256, dtype=np.uint8)


class ManualTicket:
    """A picture that the test finishes, step by step."""

    def __init__(self, task: Txt2Img, on_step: Callable[[int, int], None] | None, request: Hashable) -> None:
        self.task = task
        self.request = request
        self.future: Future[Pixels] = Future()
        self.future.set_running_or_notify_cancel()
        self._on_step = on_step
        self.taken_back = False

    def step(self, done: int) -> None:
        if self._on_step:
            self._on_step(done, self.task.steps)

    def finish(self) -> None:
        self.future.set_result(picture_of(self.task))

    def fail(self, error: Exception) -> None:
        self.future.set_exception(error)

    def cancel(self) -> None:
        self.taken_back = True
        if not self.future.done():
            self.future.set_exception(Cancelled("taken back"))


class ManualEngine:
    """Keeps what was handed in; nothing is computed until the test says so."""

    def __init__(self) -> None:
        self.tickets: list[ManualTicket] = []

    def submit(
        self,
        task: Txt2Img,
        *,
        on_step: Callable[[int, int], None] | None = None,
        request: Hashable | None = None,
    ) -> ManualTicket:
        ticket = ManualTicket(task, on_step, request)
        self.tickets.append(ticket)
        return ticket

    @property
    def open(self) -> list[ManualTicket]:
        return [ticket for ticket in self.tickets if not ticket.future.done()]


class RefusingEngine(ManualEngine):
    """Refuses the second picture of a request when it is handed in."""

    def submit(
        self,
        task: Txt2Img,
        *,
        on_step: Callable[[int, int], None] | None = None,
        request: Hashable | None = None,
    ) -> ManualTicket:
        if self.tickets:
            raise UnsupportedError("width", task.width, "less")
        return super().submit(task, on_step=on_step, request=request)


@pytest.fixture
def manual_engine() -> ManualEngine:
    return ManualEngine()


@pytest.fixture
def refusing_engine() -> RefusingEngine:
    return RefusingEngine()


@pytest.fixture
def task() -> Callable[..., Txt2Img]:
    """A small task; any field can be given."""

    def make(**fields: object) -> Txt2Img:
        values: dict[str, object] = {
            "prompt": "a circle",
            "negative_prompt": "",
            "width": 64,
            "height": 64,
            "steps": 4,
            "cfg_scale": 7.0,
            "sampler": "Euler",
            "scheduler": "automatic",
            "seed": 0,
        }
        return Txt2Img(**(values | fields))  # type: ignore[arg-type]

    return make
