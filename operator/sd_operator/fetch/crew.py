"""The threads of one attempt, and the main thread that waits for them.

Only the main thread can be interrupted by a signal, so it does nothing but wait, and tells the others to end.
What fails in a thread is raised where it is waited for.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from sd_operator.fetch.stopping import Stop

_POLL_SECONDS = 0.1
# How long to wait for threads to notice a stop: they may be within a system call of a volume that hangs.
# What they must not do then is kept from them by other means.
_PATIENCE_SECONDS = 0.5
# How long a work shows what it brings before the next one begins, and bytes per second that are enough.
_STEP_SECONDS = 0.2
_ENOUGH = 200e6


class Crew:
    """Some threads that end together."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._turn = threading.Condition()
        self._failure: BaseException | None = None
        self._ended: set[threading.Thread] = set()
        self.ending = threading.Event()

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        thread.start()
        return thread

    def wait_for(
        self,
        threads: Sequence[threading.Thread],
        *,
        tick: Callable[[], object],
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Return when these have ended; raise as soon as any of the crew failed, or a stop was asked for.

        `tick` is called every now and then; it may add to the threads. So is `enough`, which tells that what
        still runs is not needed.
        """
        while True:
            with self._turn:
                if self._failure is not None:
                    raise self._failure
                if self._ended.issuperset(threads):
                    return
                self._turn.wait(_POLL_SECONDS)
            self._stop.check()
            tick()
            if enough():
                return

    def end(self, threads: Iterable[threading.Thread]) -> None:
        """Tell all to end, and give these the time to do so."""
        self.ending.set()
        for thread in threads:
            thread.join(_PATIENCE_SECONDS if self._stop.requested else None)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001  # raised again by wait_for
            with self._turn:
                if self._failure is None and not self.ending.is_set():
                    self._failure = failure
        finally:
            with self._turn:
                self._ended.add(threading.current_thread())
                self._turn.notify_all()


class Ramp:
    """Works that begin one after the other, while there is need of more.

    Connections are faster together where each is held back by its distance or its server. Where one is as
    fast as this process, more of them only get into each other's way.
    """

    def __init__(self, crew: Crew, works: Sequence[Callable[[], None]]) -> None:
        self._crew = crew
        self._waiting = deque(works)
        self._since = time.monotonic()
        self._reached: int | None = None
        self.threads: list[threading.Thread] = []
        self._begin_next()

    def climb(self, reached: int) -> None:
        """So many bytes are there now."""
        now = time.monotonic()
        if self._reached is None:
            self._since, self._reached = now, reached
        elif now - self._since >= _STEP_SECONDS:
            if reached - self._reached < _ENOUGH * (now - self._since):
                self._begin_next()
            self._since, self._reached = now, reached

    def _begin_next(self) -> None:
        if self._waiting:
            name = f"stream-{len(self.threads)}"
            self.threads.append(self._crew.start(name, self._waiting.popleft()))
