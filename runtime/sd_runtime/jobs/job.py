"""One accepted request: its pictures in iterations, where each of them stands, and how it ended.

An iteration is what A1111 calls a batch: its pictures are computed together, the next one follows. Where
pictures stand is written by the device thread and read by the event loop; each is one reference, so no lock
is needed.
"""

import asyncio
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType, Protocol

from sd_runtime.engine.work import Made, OnStep, Pixels, Step, Task
from sd_runtime.models import LoadedCheckpoint

__all__ = ["Engine", "Job", "JobId", "JobState", "JobTask", "Outcome", "Picture", "Pixels", "Ticket"]

JobId = NewType("JobId", str)


class JobState(StrEnum):
    """QUEUED until the first model evaluation; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class JobTask(Task, Protocol):
    """A picture that tells beforehand how long it takes."""

    @property
    def steps(self) -> int:
        """Steps of its first pass."""


class Ticket(Protocol):
    """One picture in the engine."""

    @property
    def future(self) -> Future[Made]:
        """Resolves to the picture; to `Cancelled` after `cancel`."""

    @property
    def loaded(self) -> LoadedCheckpoint | None:
        """The checkpoint that it began with, once it has begun."""

    def cancel(self) -> None:
        """Takes the picture back."""

    def interrupt(self) -> None:
        """Ends it early: the future resolves to the picture that there is by then, or to `Cancelled` where
        there is none yet."""


class Engine(Protocol):
    """What this package needs of the engine."""

    def submit(self, task: Task, *, on_step: OnStep | None = None, request: Hashable | None = None) -> Ticket:
        """Puts one picture on the device's list; `on_step` is called from the device thread."""

    def preview(self, ticket: Ticket) -> Future[Pixels | None]:
        """The picture as it looks now, small; None before the first step and after the end."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture and its place in the request."""

    index: int
    made: Made

    @property
    def pixels(self) -> Pixels:
        """(height, width, 3), RGB."""
        return self.made.pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended. `pictures` has those that were made, in the order of the request; of an interrupted
    job also those that were ended early (`made.interrupted`)."""

    state: JobState
    pictures: tuple[Picture, ...] = ()
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class Job:
    """One accepted request."""

    id: JobId
    iterations: tuple[tuple[JobTask, ...], ...]
    accepted_at: float  # seconds of the queue's clock
    timestamp: datetime
    finished: "asyncio.Future[Outcome]"
    #: What its pictures are made with: until its turn has come what was served when it was accepted, then
    #: what the engine began them with.
    checkpoint: LoadedCheckpoint
    #: The client's own name for it.
    label: str | None = None
    started_at: float | None = None
    iteration: int = 0
    #: The last step of each picture of the current iteration, without its latents.
    steps: list[Step] = field(default_factory=list)
    interrupted: bool = False
    skipped: bool = False
    cancelled: bool = False
    #: For the client.
    why_cancelled: str = ""
    #: The pictures of the current iteration in the engine.
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
    def slowest(self) -> Step:
        """The last step of the picture of the current iteration that is least far."""
        return min(self.steps, key=_share, default=Step(0, self.iterations[self.iteration][0].steps))

    @property
    def within(self) -> float:
        """How much of the current iteration is done, 0 to 1."""
        if not self.steps:
            return 0.0
        return sum(_share(step) for step in self.steps) / len(self.steps)

    @property
    def progress(self) -> float:
        """How much of the job is done, 0 to 1; of one that failed or was taken back, how far it came."""
        if self.finished.done() and self.finished.result().state is JobState.DONE:
            return 1.0
        return min((self.iteration + self.within) / len(self.iterations), 1.0)

    @property
    def ended_early(self) -> bool:
        """Whether somebody asked for less than all pictures of the current iteration."""
        return self.interrupted or self.skipped or self.cancelled

    def begin(self, iteration: int) -> None:
        """The pictures of this iteration go to the engine now."""
        self.iteration = iteration
        self.skipped = False
        self.steps = [Step(0, task.steps) for task in self.iterations[iteration]]
        self.tickets = []

    def note_step(self, picture: int, step: Step) -> None:
        """A picture of the current iteration came so far; its latents are not kept alive for it."""
        self.steps[picture] = replace(step, denoised=None)

    def interrupt(self) -> None:
        """Ends the job early; it keeps the pictures that there are, as far as they have come."""
        self.interrupted = True
        self.turn.set()
        self._end_pictures_early()

    def skip(self) -> None:
        """Ends the iteration that is running early; the next one follows."""
        self.skipped = True
        self._end_pictures_early()

    def cancel(self, why: str = "the request was taken back") -> None:
        """Ends the job; nobody wants its pictures any more, or nobody can make them."""
        if not self.cancelled:
            self.why_cancelled = why
        self.cancelled = True
        self.turn.set()
        self.take_back()

    def take_back(self) -> None:
        """Takes the pictures that the engine still has back; harmless for those that are finished."""
        for ticket in self.tickets:
            ticket.cancel()

    def _end_pictures_early(self) -> None:
        for ticket in self.tickets:
            ticket.interrupt()


def _share(step: Step) -> float:
    """How far a picture is, 0 to 1, over all its passes."""
    return (step.part + (step.done / step.of if step.of else 0.0)) / step.parts
