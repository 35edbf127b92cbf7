"""The threads of one attempt, and the main thread that waits for them.

Only the main thread can be interrupted by a signal, so it does nothing but wait, and tells the others to end.
What fails in a thread is raised where it is waited for.
"""

import threading
from collections.abc import Callable, Iterable

from sd_operator.fetch.stopping import Stop

_POLL_SECONDS = 0.1
# How long to wait for threads to notice a stop: they may be within a system call of a volume that hangs.
# What they must not do then is kept from them by other means.
_PATIENCE_SECONDS = 0.5


class Crew:
    """Some threads that end together."""

    def __init__(self, stop: Stop, *, tick: Callable[[], None]) -> None:
        self._stop = stop
        self._tick = tick  # called every now and then while waiting
        self._turn = threading.Condition()
        self._failure: BaseException | None = None
        self._ended: set[threading.Thread] = set()
        self.ending = threading.Event()

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        thread.start()
        return thread

    def wait_for(self, threads: Iterable[threading.Thread]) -> None:
        """Return when these have ended; raise as soon as any of the crew failed, or a stop was asked for."""
        threads = list(threads)
        while True:
            with self._turn:
                if self._failure is not None:
                    raise self._failure
                if self._ended.issuperset(threads):
                    return
                self._turn.wait(_POLL_SECONDS)
            self._stop.check()
            self._tick()

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
