"""Runs of modules in threads: how many at a time, how many wait, and how long each may take.

A thread cannot be ended. A run that goes on past its deadline, and past a moment of grace, makes the worker
`stuck`: whoever serves then ends the process, and the supervisor starts another. Knows nothing of HTTP.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sd_plugin.errors import Busy, DeadlineExceeded

logger = logging.getLogger(__name__)

#: Runs that wait for their turn; one more is refused.
MOST_WAITING = 8
#: A run that is over its time may still end by itself within this.
GRACE_SECONDS = 2.0

_Made = TypeVar("_Made")


class Unwanted(Exception):
    """Whoever asked for the run went away before it began."""


class Runs:
    """The places of a plugin's runs: `at_once` compute, `MOST_WAITING` more wait."""

    def __init__(self, at_once: int, *, grace: float = GRACE_SECONDS) -> None:
        self._at_once = at_once
        self._grace = grace
        self._taken = 0
        self._free = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="run")
        #: Set for good when a run cannot be ended.
        self.stuck = asyncio.Event()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among those that compute or wait; raises `Busy`."""
        if self._taken >= self._at_once + MOST_WAITING:
            raise Busy(f"{MOST_WAITING} runs are waiting, which is the most; try again shortly")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(
        self,
        call: Callable[[], _Made],
        *,
        name: str,
        until: float,
        seconds: float,
        gone: "asyncio.Future[None] | None" = None,
    ) -> _Made:
        """What the call makes, in a thread, as soon as one is free; `until` is a time of `time.monotonic`,
        `seconds` what the caller knows it as; `gone` is done when the caller no longer waits. Raises
        `DeadlineExceeded`, `Busy`, `Unwanted` and what the call raises."""
        await self._turn(name, until, seconds, gone)
        try:
            running = asyncio.wrap_future(self._threads.submit(call))
        except RuntimeError:  # no thread is to be had
            self._free.release()
            raise
        running.add_done_callback(self._ended)
        done, _ = await asyncio.wait({running}, timeout=max(0.0, until - time.monotonic()))
        if done:
            return running.result()
        asyncio.get_running_loop().call_later(self._grace, self._judge, running, name)
        raise DeadlineExceeded(f"{name} did not finish within {seconds:g} s")

    async def _turn(
        self, name: str, until: float, seconds: float, gone: "asyncio.Future[None] | None"
    ) -> None:
        """Waits for a free thread."""
        turn, stuck = asyncio.ensure_future(self._free.acquire()), asyncio.ensure_future(self.stuck.wait())
        events: set[asyncio.Future[Any]] = {turn, stuck} | ({gone} if gone is not None else set())
        try:
            left = max(0.0, until - time.monotonic())
            await asyncio.wait(events, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            unwanted = gone is not None and gone.done()
            if turn.done() and not stuck.done() and not unwanted:
                return
        finally:
            stuck.cancel()
            if not turn.done():
                turn.cancel()
        if turn.done():
            self._free.release()
        if self.stuck.is_set():
            raise Busy("the worker is being replaced, as a run of it could not be ended; try again shortly")
        if unwanted:
            raise Unwanted(name)
        raise DeadlineExceeded(f"{name} did not get its turn within {seconds:g} s")

    def _ended(self, running: "asyncio.Future[_Made]") -> None:
        self._free.release()
        # Of a run that nobody waits for any more, too: else asyncio complains of an error nobody asked for.
        if not running.cancelled():
            running.exception()

    def _judge(self, running: "asyncio.Future[_Made]", name: str) -> None:
        if not running.done():
            logger.error("%s goes on past its deadline and cannot be ended; the worker is replaced", name)
            self.stuck.set()
