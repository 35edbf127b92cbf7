"""A queue of keys: each key at most once in it and with at most one worker on it.

A key added while its worker runs is run once more afterwards, so no change is missed and none is worked on
twice at the same time. Failures are retried with exponential backoff and jitter; `add(after=…)` is for
looking again later. Errors of the kinds `foreseen` are logged in one line, all others with their traceback.
Knows nothing of what a key means.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

#: Works on one key; returns the seconds after which it wants to see the key again, or None.
Handler = Callable[[K], Awaitable[float | None]]


class WorkQueue(Generic[K]):
    """`async with` starts the workers and ends them gracefully."""

    def __init__(
        self,
        handler: Handler[K],
        *,
        workers: int,
        backoff_base: float = 0.5,
        backoff_limit: float = 120.0,
        grace: float = 10.0,
        spread: Callable[[], float] = random.random,
        foreseen: tuple[type[Exception], ...] = (),
    ) -> None:
        self._handler = handler
        self._worker_count = workers
        self._backoff_base = backoff_base
        self._backoff_limit = backoff_limit
        self._grace = grace
        self._spread = spread
        self._foreseen = foreseen
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wakeup = asyncio.Event()
        self._closed = False
        self._workers: list[asyncio.Task[None]] = []

    @property
    def depth(self) -> int:
        """Keys waiting for a worker."""
        return len(self._queued) + len(self._again)

    @property
    def delayed(self) -> int:
        """Keys waiting for their time."""
        return len(self._timers)

    @property
    def alive(self) -> bool:
        """Whether every worker still works."""
        return len(self._workers) == self._worker_count and not any(task.done() for task in self._workers)

    def add(self, key: K, *, after: float = 0.0) -> None:
        """Have the key worked on now, or `after` seconds from now; the earlier of two wishes wins."""
        if self._closed:
            return
        if after > 0:
            if key not in self._queued:
                self._delay(key, after)
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._wakeup.set()

    async def __aenter__(self) -> "WorkQueue[K]":
        self._workers = [
            asyncio.create_task(self._work(), name=f"queue worker {number}")
            for number in range(self._worker_count)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Take nothing more, let the running finish within the grace period, then cancel them."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._queued.clear()
        self._again.clear()
        self._wakeup.set()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=self._grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    def _delay(self, key: K, after: float) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + after:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(after, self._due, key)

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    async def _work(self) -> None:
        while not self._closed:
            if not self._ready:
                self._wakeup.clear()
                await self._wakeup.wait()
                continue
            key = self._ready.popleft()
            self._queued.discard(key)
            self._running.add(key)
            try:
                await self._handle(key)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _handle(self, key: K) -> None:
        try:
            after = await self._handler(key)
        except Exception as error:
            # The loop's outermost guard: one bad object must not end a worker.
            failures = self._failures.get(key, 0) + 1
            self._failures[key] = failures
            delay = self._backoff(failures)
            logger.log(
                logging.WARNING if isinstance(error, self._foreseen) else logging.ERROR,
                "work on %s failed, attempt %d, next in %.1f s: %s",
                key,
                failures,
                delay,
                error,
                exc_info=not isinstance(error, self._foreseen),
            )
            self.add(key, after=delay)
        else:
            self._failures.pop(key, None)
            if after is not None:
                self.add(key, after=after)

    def _backoff(self, failures: int) -> float:
        # Full range between half and the whole, so that keys that failed together do not return together.
        whole = min(self._backoff_limit, self._backoff_base * 2.0 ** min(failures - 1, 30))
        return whole * (0.5 + 0.5 * self._spread())
