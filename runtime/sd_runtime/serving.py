"""The life of the process: listen, serve what is wished for, and on SIGTERM finish what was accepted; on a
second one end at once.

Knows the order of things, not what is served: the two applications and what follows the wishes are handed in.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from sd_runtime.errors import SdError
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
#: An idle connection is closed after this, also one that sends less than a request, or takes nothing of an
#: answer.
IDLE_SECONDS = 30
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_HOST = "SD_HOST (--host)"
#: What is wrong with the port, where it is not the address.
_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)


class ListenError(SdError):
    """The address or port of a setting cannot be listened on; the sentence names all three."""

    reason = "CannotListen"


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # uvicorn tells its type as one or the other
    """uvicorn's, ended when for as long as an idle one is kept it sends no whole request head, or takes
    nothing of its answer: else those who say nothing would take the places of all others, and those who read
    nothing would have answers kept for them without end. One more than `most` is answered with 503."""

    def __init__(self, *given: Any, most: int, **named: Any) -> None:
        super().__init__(*given, **named)
        self._most = most
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        _end_unread(transport, self.timeout_keep_alive)
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


def _end_unread(transport: asyncio.Transport, seconds: float) -> None:
    """Has the system end the connection once nothing of what is sent was taken for so long (RFC 5482): it
    knows what of it arrived, and watches on where this process is through with the connection."""
    connected = transport.get_extra_info("socket")
    # Not every system has it.
    if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * seconds))


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": "5", "Connection": "close"}
    sentence = "too many connections are open; try again shortly"
    await refusal(503, "TooManyConnections", sentence, headers)(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process decides when each of its servers ends. `setting` is
    what its port is called."""

    def __init__(self, config: uvicorn.Config, setting: str) -> None:
        super().__init__(config)
        self._setting = setting

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def bind(self) -> list[socket.socket]:
        """Listening sockets, one for each family of the address; raises `ListenError`. Apart from `serve`,
        where uvicorn would end the process by itself."""
        host, port, loop = self.config.host, self.config.port, asyncio.get_running_loop()
        with contextlib.ExitStack() as undoing:
            try:
                bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
                sockets = [undoing.enter_context(each.dup()) for each in bound.sockets]
                bound.close()
                for each in sockets:
                    each.listen(self.config.backlog)
            except OSError as error:
                raise ListenError(_complaint(host, port, self._setting, error)) from error
            undoing.pop_all()
        return sockets


def _complaint(host: str, port: int, setting: str, error: OSError) -> str:
    # asyncio writes a sentence of its own around the system's; what cannot be resolved has a number below 0.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
    if error.errno in _OF_THE_PORT:
        where = f"at {host}" if host else "at every address of this machine"
        return f"{setting}: {port} cannot be listened on {where}: {why}; allowed: a port that is free"
    sentence = f"{_HOST}: {host!r} cannot be listened on, with port {port} ({setting}): {why}"
    return f"{sentence}; allowed: an address of this machine"


def server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    setting: str = "SD_PORT (--port)",
    connections: int = SPARE_CONNECTIONS,
    idle_seconds: int = IDLE_SECONDS,
) -> Server:
    """One server that does not listen yet; the log is the process's own, and answers are counted, not
    logged."""
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
    return Server(config, setting)


async def drain(*, state: RuntimeState, queue: JobQueue, ledger: Ledger, seconds: float) -> None:
    """Refuses new requests, waits for the accepted ones, and then for a moment for those who ask what became
    of their jobs: what this process knows ends with it."""
    began = time.monotonic()
    state.drain()
    queue.stop_accepting()
    logger.info("shutting down: finishing what was accepted; a second signal (Ctrl-C) ends at once")
    if not await queue.drained(seconds):
        logger.warning("accepted requests were not finished within %s seconds; they were given up", seconds)
    left = seconds - (time.monotonic() - began)
    await ledger.settled(max(0.0, min(left, _COLLECTING_SECONDS)))


async def run(
    servers: Sequence[Server],
    *,
    follow_wishes: Callable[[], Coroutine[Any, Any, None]],
    drain_jobs: Callable[[], Coroutine[Any, Any, None]],
    close: Callable[[], Coroutine[Any, Any, None]] | None = None,
    abandon: Callable[[], None] = lambda: None,
) -> None:
    """Listens, then follows the wishes; on SIGTERM or SIGINT drains, and returns when everything has ended
    and `close` is done. A second signal ends the process at once, after `abandon` has told what is given up.
    Raises `ListenError`, before anything is followed."""
    with _signals(abandon) as stop:
        try:
            listening = await _bind_all(servers)
            async with asyncio.TaskGroup() as group:
                for each, sockets in zip(servers, listening, strict=True):
                    group.create_task(each.serve(sockets))
                while not all(each.started for each in servers):
                    await asyncio.sleep(0.01)
                following = group.create_task(follow_wishes())
                await stop.wait()
                await drain_jobs()
                following.cancel()
                for each in servers:
                    each.should_exit = True
        finally:
            if close is not None:
                await close()


async def _bind_all(servers: Sequence[Server]) -> list[list[socket.socket]]:
    """The sockets of each server; where one cannot have its own, nobody keeps any."""
    with contextlib.ExitStack() as undoing:
        bound = []
        for each in servers:
            bound.append(await each.bind())
            for one in bound[-1]:
                undoing.callback(one.close)
        undoing.pop_all()
    for one in (one for sockets in bound for one in sockets):
        host, port = one.getsockname()[:2]
        logger.info("listening", extra={"address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"})
    return bound


@contextlib.contextmanager
def _signals(abandon: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that the first signal sets; a second one ends the process. Not the event loop's own handlers:
    it may be busy just then, or waiting for a thread."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    heard = False

    def hear(number: int, _frame: FrameType | None) -> None:
        nonlocal heard
        if heard:
            # Nothing less ends it at once: threads are waited for otherwise, with the device's call in them.
            try:
                abandon()
            finally:
                os._exit(128 + number)
        heard = True
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, hear) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
