"""Work that needs no device, done by other threads, so that the device's thread does not wait for it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sd_runtime.engine.job import Job
from sd_runtime.engine.work import Evaluate, Host

#: Pictures are resized and blended by them, which releases the interpreter.
_THREADS = 2


class Hosts:
    """The threads, and which job waits for what."""

    def __init__(self, poke: Callable[[], None]) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="host")
        self._poke = poke
        self._under_way: dict[Job, tuple[Host, Future[Any]]] = {}

    def close(self) -> None:
        """Takes no more; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, job: Job, work: Host) -> None:
        """Has the work done, unless it is being done already."""
        if job in self._under_way:
            return
        future = self._pool.submit(work.call)
        self._under_way[job] = work, future
        future.add_done_callback(lambda _: self._poke())

    def begin_meanwhile(self, job: Job) -> None:
        """Has done what the job's evaluation leaves time for; the job waits for it before it goes on."""
        work = job.work
        if isinstance(work, Evaluate) and work.meanwhile is not None and job.meanwhile is None:
            job.meanwhile = self._pool.submit(work.meanwhile)

    def hand_over(self) -> bool:
        """Advances the jobs whose work is done; whether there were any."""
        done = [(job, *entry) for job, entry in self._under_way.items() if entry[1].done()]
        for job, work, future in done:
            del self._under_way[job]
            if job.work is not work:  # it has ended meanwhile
                continue
            error = future.exception()
            if isinstance(error, Exception):
                job.fail(error)
            else:
                job.advance(future.result())
        return bool(done)
