"""The worker: the process that serves a plugin on a listening socket that it was handed, or made itself.

It tells whoever started it that it lives by writing a byte to a pipe as soon as it serves, and then every
second. It ends on SIGTERM, when a run cannot be ended, and when nobody reads the pipe any more.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from sd_plugin.child import STUCK
from sd_plugin.module import Plugin
from sd_plugin.runs import Runs
from sd_plugin.server import create_app

logger = logging.getLogger(__name__)

#: Between two signs of life.
BEAT_SECONDS = 1.0
#: For runs under way when the worker ends; the container has ten seconds in all.
CLOSING_SECONDS = 6
#: Idle connections are kept for as long: callers use them again.
_IDLE_SECONDS = 60


def serve(plugin: Plugin, listening: socket.socket, alive: int | None = None) -> int:
    """Serves until it is told to end; the process's exit status. `alive` is the pipe to write to."""
    return asyncio.run(_serve(plugin, listening, alive))


async def _serve(plugin: Plugin, listening: socket.socket, alive: int | None) -> int:
    runs = Runs(plugin.at_once)
    config = uvicorn.Config(
        create_app(plugin, runs),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )

    def end() -> None:
        server.should_exit = True

    def sign() -> None:
        if alive is not None:
            _write(alive, end)

    server = _Server(config, sign)
    loop, serving = asyncio.get_running_loop(), asyncio.ensure_future(server.serve([listening]))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    tending = [
        asyncio.create_task(_tell(server, sign)),
        asyncio.create_task(_watch(runs, end)),
    ]
    await serving
    for each in tending:
        each.cancel()
    return STUCK if runs.stuck.is_set() else 0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would raise the signal again at the end; calls `begun` as
    soon as it listens, before anything is served."""

    def __init__(self, config: uvicorn.Config, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("serving")
        # A first request that holds the interpreter would keep a task from its first sign of life.
        self._begun()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _tell(server: uvicorn.Server, sign: Callable[[], None]) -> None:
    while not server.should_exit:
        await asyncio.sleep(BEAT_SECONDS)
        sign()


def _write(alive: int, end: Callable[[], None]) -> None:
    try:
        os.write(alive, b".")
    except BrokenPipeError:
        logger.error("the supervisor is gone")
        end()


async def _watch(runs: Runs, end: Callable[[], None]) -> None:
    await runs.stuck.wait()
    end()
