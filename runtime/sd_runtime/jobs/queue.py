"""Admission and running of jobs: how many may be unfinished, in which order they are seen, when all are done.

The engine interleaves the pictures of all accepted jobs by itself, so a job is handed over when it is
accepted; only its own iterations wait for each other. The exception is a change of the checkpoint: what is
accepted meanwhile is held back, so that each job is made with one checkpoint from its first picture to its
last. Everything here runs on one event loop.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from sd_runtime.engine.work import Made, Step
from sd_runtime.errors import Cancelled, GenerationError, NotLoaded, QueueFull, SdError
from sd_runtime.jobs import identity
from sd_runtime.jobs.job import Engine, Job, JobId, JobState, JobTask, Outcome, Picture, Pixels, Ticket
from sd_runtime.jobs.rate import Left, StepRate, seconds_until
from sd_runtime.models import LoadedCheckpoint

logger = logging.getLogger(__name__)

#: A preview is nice to have; whoever asks for it wants the rest of the answer.
_PREVIEW_SECONDS = 1.0
#: Clients' names of ended jobs that are remembered.
_REMEMBERED = 256
#: Seconds that a client which is turned away is told to wait: the least, the most, and where nothing was
#: measured yet.
_SOONEST, _LATEST, _UNMEASURED = 1, 60, 5


class Draining(SdError):
    """The process is ending: accepted requests are finished, new ones refused."""

    reason = "Draining"


class Full(QueueFull):
    """As many requests are unfinished as may be; a place is likely to be free after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class JobQueue:
    """The accepted, unfinished jobs of this process, oldest first."""

    def __init__(self, *, limit: int, clock: Callable[[], float] = time.monotonic, replica: str = "") -> None:
        self._limit = limit
        self._clock = clock
        self._replica = replica
        self._serving: tuple[Engine, LoadedCheckpoint] | None = None
        self._holding = False
        self._jobs: dict[JobId, Job] = {}
        self._tasks: dict[JobId, asyncio.Task[None]] = {}
        self._ended: deque[str] = deque(maxlen=_REMEMBERED)
        self._rate = StepRate()
        self._draining = False

    def serve_with(self, engine: Engine, checkpoint: LoadedCheckpoint) -> None:
        """From now on jobs are accepted, and run with this checkpoint; those held back begin."""
        self._serving = engine, checkpoint
        self._release()

    def serve_nothing(self) -> None:
        """The engine has no checkpoint any more: jobs held back fail, and new ones are refused."""
        self._serving = None
        self._release()

    def hold(self) -> None:
        """Jobs that are accepted from now on wait for `serve_with`; the others go on."""
        self._holding = True

    async def idle(self) -> None:
        """Waits until every job that is not held back has ended."""
        begun = [task for number, task in self._tasks.items() if self._jobs[number].turn.is_set()]
        if begun:
            await asyncio.wait(begun)

    def demand_place(self) -> None:
        """Raises why no further job would be accepted now, if so."""
        if self._draining:
            raise Draining("this replica is shutting down; send the request again to reach another")
        if self._serving is None:
            raise NotLoaded("no checkpoint is loaded yet; try again shortly")
        if len(self._jobs) >= self._limit:
            count = len(self._jobs)
            raise Full(
                f"{count} requests are unfinished, which is the limit; try again shortly",
                retry_after=self.seconds_until_place(),
            )

    def submit(self, iterations: Sequence[Sequence[JobTask]], *, label: str | None = None) -> Job:
        """Accepts a job and starts it; `label` is the client's own name for it. Raises as `demand_place`."""
        self.demand_place()
        assert self._serving is not None
        job = Job(
            id=identity.new(self._replica),
            iterations=tuple(tuple(tasks) for tasks in iterations),
            accepted_at=self._clock(),
            timestamp=datetime.now(),
            finished=asyncio.get_running_loop().create_future(),
            checkpoint=self._serving[1],
            label=label,
        )
        if not self._jobs:
            self._rate.begin(self._clock())
        self._jobs[job.id] = job
        if not self._holding:
            job.turn.set()
        self._tasks[job.id] = asyncio.create_task(self._run(job), name=f"job {job.id}")
        return job

    def oldest(self) -> Job | None:
        """The job that routes without a job id mean: the oldest unfinished one."""
        return next(iter(self._jobs.values()), None)

    def unfinished(self) -> tuple[Job, ...]:
        """All of them, oldest first."""
        return tuple(self._jobs.values())

    def find(self, label: str) -> Job | None:
        """The unfinished job that its client calls so; of several the last."""
        return next((job for job in reversed(self._jobs.values()) if job.label == label), None)

    def has_ended(self, label: str) -> bool:
        """Whether a job that its client called so has ended, not too long ago."""
        return label in self._ended

    def waiting(self) -> int:
        """Accepted jobs whose first evaluation has not happened yet."""
        return sum(job.state is JobState.QUEUED for job in self._jobs.values())

    def position(self, job: Job) -> int:
        """Place of the job among those that wait for their first evaluation, from 1; 0: it does not wait."""
        if job.state is not JobState.QUEUED:
            return 0
        before = 0
        for other in self._jobs.values():
            if other is job:
                break
            before += other.state is JobState.QUEUED
        return before + 1

    def eta(self, job: Job) -> float | None:
        """Seconds until the job will have ended, by the measured rate of steps; None: nothing was measured
        yet. What is not made in steps (texts, decoding, a load of another checkpoint) is left out."""
        rate = self._rate.per_second()
        if job.finished.done():
            return 0.0
        if rate is None:
            return None
        others = [_left(other) for other in self._jobs.values() if other is not job]
        return seconds_until(_left(job), others, rate)

    async def preview(self, job: Job) -> Pixels | None:
        """How a picture of the job looks now, small; None before the first step and after the end, and where
        the device is too busy to say soon."""
        ticket = self._shown_ticket(job)
        if ticket is None or self._serving is None:
            return None
        # Shielded: the device thread could not settle a future that was cancelled with its waiter.
        asked = asyncio.shield(asyncio.wrap_future(self._serving[0].preview(ticket)))
        try:
            return await asyncio.wait_for(asked, _PREVIEW_SECONDS)
        except TimeoutError:
            return None

    def now(self) -> float:
        """The clock that `accepted_at` and `started_at` are read from."""
        return self._clock()

    def stop_accepting(self) -> None:
        """Refuses every further job."""
        self._draining = True

    async def drained(self, seconds: float) -> bool:
        """Waits for the accepted jobs; those unfinished after `seconds` are cancelled, and the answer is
        False."""
        if not self._tasks:
            return True
        _, late = await asyncio.wait(self._tasks.values(), timeout=seconds)
        for job in list(self._jobs.values()):
            job.cancel("this replica ended before it was done; send the request again to reach another")
        if late:
            await asyncio.wait(late, timeout=5)
        return not late

    def seconds_until_place(self) -> int:
        """Seconds after which a job is likely to have ended, for a client that is turned away."""
        etas = [self.eta(job) for job in self._jobs.values()]
        first = min((eta for eta in etas if eta is not None), default=None)
        return _UNMEASURED if first is None else min(max(math.ceil(first), _SOONEST), _LATEST)

    def _shown_ticket(self, job: Job) -> Ticket | None:
        """Of the picture under way, the first that has made a step."""
        for ticket, step in zip(job.tickets, job.steps, strict=False):
            if step.done and not ticket.future.done():
                return ticket
        return None

    def _release(self) -> None:
        self._holding = False
        for job in self._jobs.values():
            if not job.turn.is_set():
                job.checkpoint = self._serving[1] if self._serving else job.checkpoint
                job.turn.set()

    async def _run(self, job: Job) -> None:
        """Runs the job to an outcome; whatever happens, it leaves the list and its waiters hear of it."""
        outcome = Outcome(state=JobState.FAILED, error=Cancelled("the job was abandoned"))
        try:
            await job.turn.wait()
            outcome = await self._iterate(job)
        except SdError as error:
            outcome = Outcome(state=JobState.FAILED, error=error)
        except Exception:
            logger.exception("a job failed unexpectedly", extra={"job": job.id})
            sentence = f"the pictures could not be computed; the cause is in the log under job {job.id}"
            outcome = Outcome(state=JobState.FAILED, error=GenerationError(sentence))
        finally:
            del self._jobs[job.id], self._tasks[job.id]
            if job.label is not None:
                self._ended.append(job.label)
            job.finished.set_result(outcome)
        self._log_end(job, outcome)

    async def _iterate(self, job: Job) -> Outcome:
        """One iteration after the other, until all are done or the job is ended early."""
        pictures: list[Picture] = []
        place = 0
        for number, tasks in enumerate(job.iterations):
            if job.interrupted or job.cancelled:
                break
            if self._serving is None:
                raise NotLoaded("no checkpoint is loaded any more; try again shortly")
            job.begin(number)
            results = await self._compute(job, self._serving[0], tasks)
            pictures += [Picture(place + i, made) for i, made in enumerate(results) if made is not None]
            place += len(tasks)
        if job.cancelled:
            return Outcome(state=JobState.CANCELLED, error=Cancelled(job.why_cancelled))
        return Outcome(state=JobState.DONE, pictures=tuple(pictures))

    async def _compute(self, job: Job, engine: Engine, tasks: tuple[JobTask, ...]) -> list[Made | None]:
        """The pictures of one iteration; None where there is none, as it was ended early. The first failure
        takes the others back."""
        try:
            for picture, task in enumerate(tasks):
                on_step = partial(self._note_step, job, picture)
                job.tickets.append(engine.submit(task, on_step=on_step, request=job.id))
        except SdError:
            job.take_back()
            raise
        futures = [asyncio.wrap_future(ticket.future) for ticket in job.tickets]
        waited_for = set(futures)
        while waited_for:
            done, waited_for = await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if any(_is_failure(job, future.exception()) for future in done):
                job.take_back()
        job.checkpoint = job.tickets[0].loaded or job.checkpoint
        errors = [error for future in futures if (error := future.exception()) is not None]
        # Cancelled ones come last: they may only follow from another picture's failure.
        for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
            if _is_failure(job, error):
                raise error
        return [None if future.exception() else future.result() for future in futures]

    def _note_step(self, job: Job, picture: int, step: Step) -> None:
        """Called from the device thread."""
        now = self._clock()
        if job.started_at is None:
            job.started_at = now
        self._rate.note(now)
        job.note_step(picture, step)

    def _log_end(self, job: Job, outcome: Outcome) -> None:
        logger.info(
            "job %s",
            outcome.state,
            extra={
                "job": job.id,
                "client_task": job.label,
                "pictures": len(outcome.pictures),
                "asked": sum(len(tasks) for tasks in job.iterations),
                "interrupted": job.interrupted,
                "seconds": round(self._clock() - job.accepted_at, 3),
                "task": type(job.iterations[0][0]).__name__,
                "checkpoint": job.checkpoint.path.name,
                "error": None if outcome.error is None else str(outcome.error),
            },
        )


def _is_failure(job: Job, error: BaseException | None) -> bool:
    """Pictures that nobody wants any more, or not to their end, may be missing."""
    return error is not None and not (isinstance(error, Cancelled) and job.ended_early)


def _left(job: Job) -> Left:
    """What the job has before it, as if its iterations and passes were alike."""
    told = job.slowest
    steps = told.of * told.parts * len(job.iterations)
    return Left(len(job.iterations[job.iteration]), steps * (1 - job.progress))
