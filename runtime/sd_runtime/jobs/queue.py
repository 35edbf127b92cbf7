"""Admission and running of jobs: how many may be unfinished, in which order they are seen, when all are done.

The engine interleaves the pictures of all accepted jobs by itself, so a job is handed over when it is
accepted; only its own iterations wait for each other. The exception is a change of the checkpoint: what is
accepted meanwhile is held back, so that each job is made with one checkpoint from its first picture to its
last. Everything here runs on one event loop.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from sd_runtime.errors import Cancelled, GenerationError, NotLoaded, QueueFull, SdError
from sd_runtime.jobs.job import Engine, Job, JobId, JobState, Outcome, Picture, Pixels
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.tasks.txt2img import Txt2Img

logger = logging.getLogger(__name__)


class Draining(SdError):
    """The process is ending: accepted requests are finished, new ones refused."""

    reason = "Draining"


class JobQueue:
    """The accepted, unfinished jobs of this process, oldest first."""

    def __init__(self, *, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._serving: tuple[Engine, LoadedCheckpoint] | None = None
        self._holding = False
        self._jobs: dict[JobId, Job] = {}
        self._tasks: dict[JobId, asyncio.Task[None]] = {}
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

    def submit(self, iterations: Sequence[Sequence[Txt2Img]], *, label: str | None = None) -> Job:
        """Accepts a job and starts it; `label` is the client's own name for it, for the log."""
        if self._draining:
            raise Draining("this replica is shutting down; send the request again to reach another")
        if self._serving is None:
            raise NotLoaded("no checkpoint is loaded yet; try again shortly")
        if len(self._jobs) >= self._limit:
            raise QueueFull(
                f"{len(self._jobs)} requests are unfinished, which is the limit; try again shortly"
            )
        job = Job(
            id=JobId(uuid.uuid4().hex),
            iterations=tuple(tuple(tasks) for tasks in iterations),
            accepted_at=self._clock(),
            timestamp=datetime.now(),
            finished=asyncio.get_running_loop().create_future(),
            checkpoint=self._serving[1],
        )
        self._jobs[job.id] = job
        if not self._holding:
            job.turn.set()
        self._tasks[job.id] = asyncio.create_task(self._run(job, label), name=f"job {job.id}")
        return job

    def oldest(self) -> Job | None:
        """The job that routes without a job id mean: the oldest unfinished one."""
        return next(iter(self._jobs.values()), None)

    def waiting(self) -> int:
        """Accepted jobs whose first evaluation has not happened yet."""
        return sum(job.state is JobState.QUEUED for job in self._jobs.values())

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
            job.cancel()
        if late:
            await asyncio.wait(late, timeout=5)
        return not late

    def _release(self) -> None:
        self._holding = False
        for job in self._jobs.values():
            if not job.turn.is_set():
                job.checkpoint = self._serving[1] if self._serving else job.checkpoint
                job.turn.set()

    async def _run(self, job: Job, label: str | None) -> None:
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
            job.finished.set_result(outcome)
        self._log_end(job, outcome, label)

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
            pictures += [Picture(place + i, pixels) for i, pixels in enumerate(results) if pixels is not None]
            place += len(tasks)
        if job.cancelled:
            return Outcome(state=JobState.CANCELLED, error=Cancelled("the request was taken back"))
        return Outcome(state=JobState.DONE, pictures=tuple(pictures))

    async def _compute(self, job: Job, engine: Engine, tasks: tuple[Txt2Img, ...]) -> list[Pixels | None]:
        """The pictures of one iteration; None where one was taken back. The first failure takes the others
        back."""
        try:
            for picture, task in enumerate(tasks):
                on_step = partial(self._note_step, job, picture)
                job.tickets.append(engine.submit(task, on_step=on_step, request=job.id))
        except SdError:
            job.take_back()
            raise
        futures = [asyncio.wrap_future(ticket.future) for ticket in job.tickets]
        await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
        job.take_back()
        results = await asyncio.gather(*futures, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        # Cancelled ones come last: they may only follow from another picture's failure.
        for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
            if not (isinstance(error, Cancelled) and job.ended_early):
                raise error
        return [None if isinstance(result, BaseException) else result for result in results]

    def _note_step(self, job: Job, picture: int, done: int, _of: int) -> None:
        """Called from the device thread."""
        if job.started_at is None:
            job.started_at = self._clock()
        job.steps_done[picture] = done

    def _log_end(self, job: Job, outcome: Outcome, label: str | None) -> None:
        first = job.iterations[0][0]
        logger.info(
            "job %s",
            outcome.state,
            extra={
                "job": job.id,
                "client_task": label,
                "pictures": len(outcome.pictures),
                "asked": sum(len(tasks) for tasks in job.iterations),
                "interrupted": job.interrupted,
                "seconds": round(self._clock() - job.accepted_at, 3),
                "sampler": first.sampler,
                "steps": first.steps,
                "size": f"{first.width}x{first.height}",
                "error": None if outcome.error is None else str(outcome.error),
            },
        )
