"""A queue of keys: each key at most once in it and with at most one worker on it.

A key added while its worker runs is run once more afterwards, so no change is missed and none is worked on
twice at the same time. Urgent keys come before others, and groups of keys take turns (lanes.py). Failures are
retried with exponential backoff and jitter; `add(after=…)` is for looking again later. Errors of the kinds
`foreseen` are logged in one line, all others with their traceback. Knows nothing of what a key means.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from sd_operator.lanes import Lanes

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

#: Works on one key; returns the seconds after which it wants to see the key again, or None.
Handler = Callable[[K], Awaitable[float | None]]


def _one_group(_: Hashable) -> Hashable:
    return None


def _unheard(_: float) -> None:
    return None


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
        group: Callable[[K], Hashable] = _one_group,
        waited: Callable[[float], None] = _unheard,
    ) -> None:
        self._handler = handler
        self._worker_count = workers
        self._backoff_base = backoff_base
        self._backoff_limit = backoff_limit
        self._grace = grace
        self._spread = spread
        self._foreseen = foreseen
        self._waited = waited
        self._ready: Lanes[K] = Lanes(group)
        #: since when a key waits for a worker
        self._since: dict[K, float] = {}
        self._running: set[K] = set()
        #: keys to be run once more, and whether that is urgent
        self._again: dict[K, bool] = {}
        self._timers: dict[K, tuple[asyncio.TimerHandle, bool]] = {}
        self._failures: dict[K, int] = {}
        self._wakeup = asyncio.Event()
        self._closed = False
        self._workers: list[asyncio.Task[None]] = []

    @property
    def depth(self) -> int:
        """Keys waiting for a worker."""
        return len(self._ready) + len(self._again)

    @property
    def delayed(self) -> int:
        """Keys waiting for their time."""
        return len(self._timers)

    @property
    def failing(self) -> int:
        """Keys whose last pass failed."""
        return len(self._failures)

    @property
    def alive(self) -> bool:
        """Whether every worker still works."""
        return len(self._workers) == self._worker_count and not any(task.done() for task in self._workers)

    def add(self, key: K, *, after: float = 0.0, urgent: bool = False) -> None:
        """Have the key worked on now, or `after` seconds from now; the earlier of two wishes wins."""
        if self._closed:
            return
        if after > 0:
            if key not in self._ready:
                self._delay(key, after, urgent)
            elif urgent:
                self._ready.add(key, urgent=True)
            return
        timer, hurried = self._timers.pop(key, (None, False))
        if timer is not None:
            timer.cancel()
        urgent = urgent or hurried
        if key in self._running:
            self._again[key] = urgent or self._again.get(key, False)
            return
        self._ready.add(key, urgent=urgent)
        self._since.setdefault(key, asyncio.get_running_loop().time())
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
        for timer, _ in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._since.clear()
        self._again.clear()
        self._wakeup.set()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=self._grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    def _delay(self, key: K, after: float, urgent: bool) -> None:
        loop = asyncio.get_running_loop()
        timer, hurried = self._timers.get(key, (None, False))
        urgent = urgent or hurried
        if timer is not None and timer.when() <= loop.time() + after:
            self._timers[key] = (timer, urgent)
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = (loop.call_later(after, self._due, key), urgent)

    def _due(self, key: K) -> None:
        _, urgent = self._timers.pop(key)
        self.add(key, urgent=urgent)

    async def _work(self) -> None:
        while not self._closed:
            if not self._ready:
                self._wakeup.clear()
                await self._wakeup.wait()
                continue
            key = self._ready.pop()
            self._waited(asyncio.get_running_loop().time() - self._since.pop(key))
            self._running.add(key)
            try:
                await self._handle(key)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self.add(key, urgent=self._again.pop(key))

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
