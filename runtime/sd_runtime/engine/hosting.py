"""Work that needs no device, done by other threads, so that the device's thread does not wait for it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sd_runtime.engine.job import Job
from sd_runtime.engine.work import Apart, Elsewhere, Evaluate

#: Pictures are resized and blended by them, which releases the interpreter.
_THREADS = 2
#: Of those that wait for other processes.
_WAITING_THREADS = 16
#: Of those, for the same process.
_WAITING_FOR_ONE = 4


class Hosts:
    """The threads, and which job waits for what."""

    def __init__(self, poke: Callable[[], None]) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="host")
        self._apart = ThreadPoolExecutor(_WAITING_THREADS, thread_name_prefix="apart")
        self._poke = poke
        #: By the work and not by the job, which may have been told to end and asked for something else.
        self._under_way: dict[Elsewhere, tuple[Job, Future[Any]]] = {}

    def close(self) -> None:
        """Takes no more; what is under way ends by itself."""
        for pool in (self._pool, self._apart):
            pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, job: Job, work: Elsewhere) -> None:
        """Has the work done, unless it is being done already."""
        if work in self._under_way or (isinstance(work, Apart) and self._is_full(work)):
            return
        future = self._shared(work) or self._pool_of(work).submit(work.call)
        self._under_way[work] = job, future
        future.add_done_callback(lambda _: self._poke())

    def _pool_of(self, work: Elsewhere) -> ThreadPoolExecutor:
        return self._apart if isinstance(work, Apart) else self._pool

    def _is_full(self, work: Apart) -> bool:
        """Whether enough others wait for the same process. The round after one of them was answered asks
        again."""
        if work.lane is None:
            return False
        calls = {
            id(other.key) for other in self._under_way if isinstance(other, Apart) and other.lane == work.lane
        }
        return id(work.key) not in calls and len(calls) >= _WAITING_FOR_ONE

    def _shared(self, work: Elsewhere) -> Future[Any] | None:
        """The call that others wait for who ask for the same."""
        if work.key is None:
            return None
        return next((future for other, (_, future) in self._under_way.items() if other.key is work.key), None)

    def begin_meanwhile(self, job: Job) -> None:
        """Has done what the job's evaluation leaves time for; the job waits for it before it goes on."""
        work = job.work
        if isinstance(work, Evaluate) and work.meanwhile is not None and job.meanwhile is None:
            job.meanwhile = self._pool.submit(work.meanwhile)

    def hand_over(self) -> bool:
        """Advances the jobs whose work is done; whether there were any."""
        done = [(work, *entry) for work, entry in self._under_way.items() if entry[1].done()]
        for work, job, future in done:
            del self._under_way[work]
            if job.work is not work:  # it has ended meanwhile, or goes on without
                continue
            error = future.exception()
            if isinstance(error, Exception):
                job.fail(error)
            else:
                job.advance(future.result())
        return bool(done)
