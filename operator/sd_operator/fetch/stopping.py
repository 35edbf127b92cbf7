"""Stopping on SIGTERM: at once while bytes are awaited, never between a rename and its manifest entry."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sd_operator.fetch.errors import INTERRUPTED, FetchError


class Stop:
    """Whether this process was told to stop. Its main thread asks; other threads are told by it."""

    def __init__(self) -> None:
        self._requested = False
        self._armed = False

    def install(self) -> None:
        """Listen to the signals of the kubelet and of a terminal."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    @property
    def requested(self) -> bool:
        return self._requested

    def check(self) -> None:
        """Raise if a stop was asked for."""
        if self._requested:
            raise FetchError(
                INTERRUPTED, "the fetch was told to stop; what it downloaded is kept", retryable=True
            )

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A stop takes effect within this block at once, even in a system call that waits."""
        outer = self._armed
        self._armed = True
        try:
            self.check()
            yield
        finally:
            self._armed = outer and not self._requested

    def sleep(self, seconds: float) -> None:
        with self.interruptible():
            time.sleep(seconds)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        # Raising is what ends a recv() or a sleep(): Python would resume them after a handler that returns.
        # Once: a second signal must not cut short what the first one's exception tidies up.
        if self._armed:
            self._armed = False
            self.check()
