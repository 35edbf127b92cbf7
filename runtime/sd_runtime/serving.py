"""The life of the process: listen, serve what is wished for, and on SIGTERM finish what was accepted.

Knows the order of things, not what is served: the two applications and what follows the wishes are handed in.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from sd_runtime.guards.refusal import refusal
from sd_runtime.health import RuntimeState
from sd_runtime.jobs.ledger import Ledger
from sd_runtime.jobs.queue import JobQueue

logger = logging.getLogger(__name__)

#: For answers under way (encoding, sending) after the last job has finished.
_CLOSING_SECONDS = 5
#: For results of jobs that nobody has fetched yet: clients ask every second or so.
_COLLECTING_SECONDS = 10.0
#: Connections of one server at a time beyond the requests it keeps waiting; one more is answered with 503.
SPARE_CONNECTIONS = 448
#: An idle connection is closed after this, also one that sends less than a request.
IDLE_SECONDS = 30


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # uvicorn tells its type as one or the other
    """uvicorn's, ended when it sends no whole request head for as long as an idle one is kept: else those who
    say nothing would take the places of all others. One more than `most` is answered with 503."""

    def __init__(self, *given: Any, most: int, **named: Any) -> None:
        super().__init__(*given, **named)
        self._most = most
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) >= self._most:
            self.app = _crowded
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_watch()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_watch()
        elif self._silence is None:
            self._silence = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _end_watch(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": "5", "Connection": "close"}
    sentence = "too many connections are open; try again shortly"
    await refusal(503, "TooManyConnections", sentence, headers)(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process decides when each of its servers ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    connections: int = SPARE_CONNECTIONS,
    idle_seconds: int = IDLE_SECONDS,
) -> Server:
    """One listening server; the log is the process's own, and answers are counted, not logged."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=partial(Connection, most=connections),  # type: ignore[arg-type]  # it is called, nothing else
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=idle_seconds,
        timeout_graceful_shutdown=_CLOSING_SECONDS,
    )
    return Server(config)


async def drain(*, state: RuntimeState, queue: JobQueue, ledger: Ledger, seconds: float) -> None:
    """Refuses new requests, waits for the accepted ones, and then for a moment for those who ask what became
    of their jobs: what this process knows ends with it."""
    began = time.monotonic()
    state.drain()
    queue.stop_accepting()
    logger.info("shutting down: finishing what was accepted")
    if not await queue.drained(seconds):
        logger.warning("accepted requests were not finished within %s seconds; they were given up", seconds)
    left = seconds - (time.monotonic() - began)
    await ledger.settled(max(0.0, min(left, _COLLECTING_SECONDS)))


async def run(
    servers: list[Server],
    *,
    follow_wishes: Callable[[], Coroutine[Any, Any, None]],
    drain_jobs: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Listens, then follows the wishes; on SIGTERM or SIGINT drains, and returns when everything has
    ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            for each in servers:
                group.create_task(each.serve())
            while not all(each.started for each in servers):
                await asyncio.sleep(0.01)
            following = group.create_task(follow_wishes())
            await stop.wait()
            await drain_jobs()
            following.cancel()
            for each in servers:
                each.should_exit = True
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
