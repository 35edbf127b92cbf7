"""What became of jobs that are asked for by their ids: each is known from its acceptance until some time
after its end, within a bound of bytes.

A job that a client has given an id of its own is made once, however often it is asked for. Knows the answer
to a job as bytes only; who makes them is handed in. Everything here runs on one event loop.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sd_runtime.errors import GenerationError, SdError
from sd_runtime.jobs.job import Job, JobId, JobState, Outcome

logger = logging.getLogger(__name__)

#: Ended jobs that are kept, however small they are.
_MOST_ENDED = 4096

#: Seconds within which those who want an answer come for it.
_SOON = 30.0

#: Makes the answer of an ended job, or raises why there is none.
Finish = Callable[[Outcome], Awaitable[bytes]]


class UnknownJob(SdError):
    """No job has this id, or it ended too long ago."""

    reason = "NotFound"


class Conflict(SdError):
    """A client gives the id of another request of its own to this one."""

    reason = "Conflict"


class NotFinished(SdError):
    """The answer of a job was asked for that has none yet."""

    reason = "NotFinished"


class JobCancelled(SdError):
    """The answer of a job was asked for that was taken back."""

    reason = "Cancelled"


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """One job as it is known by its id."""

    id: JobId
    kind: str
    #: Digest of what was asked for.
    request: str
    client_id: str | None
    accepted: datetime
    #: None once it has ended, so that neither its pictures nor what they were made from stay in memory.
    job: Job | None
    #: Set once the answer, or the reason why there is none, is here.
    ended: asyncio.Event
    ended_at: float | None = None
    final: JobState | None = None
    answer: bytes = b""
    error: Exception | None = None
    #: How far it came.
    progress: float = 0.0
    collected: bool = False

    @property
    def state(self) -> JobState:
        """Where it stands. A job whose pictures are made is still RUNNING until its answer is there."""
        if self.final is not None:
            return self.final
        assert self.job is not None
        return JobState.RUNNING if self.job.finished.done() else self.job.state

    def tell(self) -> None:
        """Somebody has learned the state: where there will be no answer, that is all there is to learn."""
        self.collected = self.collected or self.final in (JobState.FAILED, JobState.CANCELLED)

    def collect(self) -> bytes:
        """The answer; raises why there is none."""
        if self.final is None:
            raise NotFinished(f"the job is {self.state}, and has no result yet")
        self.collected = True
        if self.final is JobState.CANCELLED:
            raise JobCancelled("the job was taken back, and has no result")
        if self.error is not None:
            # Each time anew, or the traceback would grow with every poll.
            raise self.error.with_traceback(None)
        return self.answer


@dataclass(slots=True)
class _Turn:
    """Those who create a job with the same id of a client, one after the other."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    takers: int = 0


class Ledger:
    """The jobs of this process that were asked for over the job interface."""

    def __init__(
        self, *, keep_seconds: float, keep_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.keep_seconds = keep_seconds
        self._keep_bytes = keep_bytes
        self._clock = clock
        self._records: dict[JobId, Record] = {}
        self._by_client: dict[str, Record] = {}
        self._creating: dict[str, _Turn] = {}
        self._finishing: dict[JobId, asyncio.Task[None]] = {}

    def get(self, job: str) -> Record:
        """The job of this id; raises `UnknownJob`."""
        self._forget_old()
        found = self._records.get(JobId(job))
        if found is None:
            kept = f"what became of one is kept for {self.keep_seconds:g} seconds"
            raise UnknownJob(f"there is no job {job[:80]} here (any more); {kept}")
        return found

    def all(self) -> tuple[Record, ...]:
        """Every job that is known, oldest first."""
        self._forget_old()
        return tuple(self._records.values())

    def uncollected(self) -> int:
        """How many ended jobs' answers nobody has fetched yet."""
        return sum(each.final is not None and not each.collected for each in list(self._records.values()))

    @asynccontextmanager
    async def creating(self, client_id: str | None) -> AsyncIterator[None]:
        """Between looking for a client's id and adding its job nobody else may do the same with it."""
        if client_id is None:
            yield
            return
        turn = self._creating.setdefault(client_id, _Turn())
        turn.takers += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.takers -= 1
            if not turn.takers:
                del self._creating[client_id]

    def known(self, client_id: str | None, request: str) -> Record | None:
        """The job that the client has given this id before; raises `Conflict` where that was for something
        else."""
        self._forget_old()
        found = self._by_client.get(client_id) if client_id is not None else None
        if found is not None and found.request != request:
            raise Conflict(f"id: {client_id!r} is that of another request, which was accepted as {found.id}")
        return found

    def add(self, job: Job, *, kind: str, request: str, client_id: str | None, finish: Finish) -> Record:
        """Keeps the job from now on; its answer is made when it has ended, whether or not anybody asks."""
        record = Record(
            id=job.id,
            kind=kind,
            request=request,
            client_id=client_id,
            accepted=job.timestamp,
            job=job,
            ended=asyncio.Event(),
        )
        self._records[job.id] = record
        if client_id is not None:
            self._by_client[client_id] = record
        self._finishing[job.id] = asyncio.create_task(self._finish(record, finish), name=f"end of {job.id}")
        return record

    async def settled(self, seconds: float) -> None:
        """Waits until every answer is there, and then, for so long at most, until the newest were
        collected."""
        if self._finishing:
            await asyncio.wait(self._finishing.values())
        end = self._clock() + seconds
        while self._clock() < end and any(self._is_waited_for(record) for record in self.all()):
            await asyncio.sleep(0.1)

    def _is_waited_for(self, record: Record) -> bool:
        """Whether somebody is likely to come for its answer."""
        return not record.collected and (record.ended_at or 0.0) > self._clock() - _SOON

    async def _finish(self, record: Record, finish: Finish) -> None:
        assert record.job is not None
        # Shielded: others wait for the same future.
        outcome = await asyncio.shield(record.job.finished)
        final, error = outcome.state, outcome.error
        if final is not JobState.CANCELLED:
            try:
                record.answer = await finish(outcome)
            except SdError as refusal:
                final, error = JobState.FAILED, refusal
            except Exception:
                logger.exception("the answer of a job could not be made", extra={"job": record.id})
                sentence = f"the answer could not be made; the cause is in the log under job {record.id}"
                final, error = JobState.FAILED, GenerationError(sentence)
        record.error = error
        record.progress = 1.0 if final is JobState.DONE else record.job.progress
        record.ended_at, record.final, record.job = self._clock(), final, None
        record.ended.set()
        del self._finishing[record.id]
        self._forget_old()
        # Without this the last jobs of a busy hour would stay until somebody asks again.
        asyncio.get_running_loop().call_later(self.keep_seconds + 1, self._forget_old)

    def _forget_old(self) -> None:
        ended = [each for each in self._records.values() if each.ended_at is not None]
        ended.sort(key=lambda each: each.ended_at or 0.0)
        held = sum(len(each.answer) for each in ended)
        oldest = self._clock() - self.keep_seconds
        for place, record in enumerate(ended):
            too_many = len(ended) - place > _MOST_ENDED
            # The newest stays however large it is: somebody has just waited for it.
            too_large = held > self._keep_bytes and place < len(ended) - 1
            if (record.ended_at or 0.0) >= oldest and not too_many and not too_large:
                return
            held -= len(record.answer)
            self._forget(record)

    def _forget(self, record: Record) -> None:
        del self._records[record.id]
        if record.client_id is not None and self._by_client.get(record.client_id) is record:
            del self._by_client[record.client_id]
