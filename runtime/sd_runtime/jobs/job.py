"""One accepted request: its pictures in iterations, where each of them stands, and how it ended.

An iteration is what A1111 calls a batch: its pictures are computed together, the next one follows. The step
counters are written by the device thread and read by the event loop; each is one integer, so no lock is
needed.
"""

import asyncio
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType, Protocol

import numpy as np
import numpy.typing as npt

from sd_runtime.engine.work import OnStep
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.tasks.txt2img import Txt2Img

JobId = NewType("JobId", str)
Pixels = npt.NDArray[np.uint8]  # (height, width, 3)


class JobState(StrEnum):
    """QUEUED until the first model evaluation; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Ticket(Protocol):
    """One picture in the engine."""

    @property
    def future(self) -> Future[Pixels]:
        """Resolves to the picture; to `Cancelled` after `cancel`."""

    def cancel(self) -> None:
        """Takes the picture back."""


class Engine(Protocol):
    """What this package needs of the engine."""

    def submit(
        self, task: Txt2Img, *, on_step: OnStep | None = None, request: Hashable | None = None
    ) -> Ticket:
        """Puts one picture on the device's list; `on_step(done, of)` is called from the device thread."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture and its place in the request."""

    index: int
    pixels: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended. `pictures` has those that were finished, in the order of the request."""

    state: JobState
    pictures: tuple[Picture, ...] = ()
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class Job:
    """One accepted request."""

    id: JobId
    iterations: tuple[tuple[Txt2Img, ...], ...]
    accepted_at: float  # seconds of the queue's clock
    timestamp: datetime
    finished: "asyncio.Future[Outcome]"
    #: What all its pictures are made with; until its turn has come, what was served when it was accepted.
    checkpoint: LoadedCheckpoint
    started_at: float | None = None
    iteration: int = 0
    #: Steps done by each picture of the current iteration.
    steps_done: list[int] = field(default_factory=list)
    interrupted: bool = False
    skipped: bool = False
    cancelled: bool = False
    tickets: list[Ticket] = field(default_factory=list)
    #: Set when the job may go to the engine, or need not any more.
    turn: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> JobState:
        """Where the job stands now."""
        if self.finished.done():
            return self.finished.result().state
        return JobState.QUEUED if self.started_at is None else JobState.RUNNING

    @property
    def steps(self) -> int:
        """Sampling steps of each picture of the current iteration."""
        return self.iterations[self.iteration][0].steps

    @property
    def ended_early(self) -> bool:
        """Whether somebody asked for less than all pictures of the current iteration."""
        return self.interrupted or self.skipped or self.cancelled

    def begin(self, iteration: int) -> None:
        """The pictures of this iteration go to the engine now."""
        self.iteration = iteration
        self.skipped = False
        self.steps_done = [0] * len(self.iterations[iteration])
        self.tickets = []

    def interrupt(self) -> None:
        """Ends the job early; it keeps the pictures that are finished."""
        self.interrupted = True
        self.turn.set()
        self.take_back()

    def skip(self) -> None:
        """Gives up the iteration that is running; the next one follows."""
        self.skipped = True
        self.take_back()

    def cancel(self) -> None:
        """Ends the job; nobody wants its pictures any more."""
        self.cancelled = True
        self.turn.set()
        self.take_back()

    def take_back(self) -> None:
        """Takes the pictures that the engine still has back; harmless for those that are finished."""
        for ticket in self.tickets:
            ticket.cancel()
