"""The life of the process: listen, load, serve, and on SIGTERM finish what was accepted.

Knows the order of things, not what is served: the two applications and the engine are handed in.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from sd_runtime.errors import SdError
from sd_runtime.health import RuntimeState
from sd_runtime.jobs.job import Engine
from sd_runtime.jobs.queue import JobQueue
from sd_runtime.models import LoadedCheckpoint

logger = logging.getLogger(__name__)

#: For answers under way (encoding, sending) after the last job has finished.
_CLOSING_SECONDS = 5
#: Connections of one server at a time beyond the requests it keeps waiting; one more is answered with 503.
SPARE_CONNECTIONS = 448
#: An idle connection is closed after this.
_IDLE_SECONDS = 30


class LoadingEngine(Engine, Protocol):
    """What the life of the process needs of the engine."""

    def start(self) -> None:
        """Starts the device thread."""

    def close(self) -> None:
        """Stops it."""

    def load(self, path: Path) -> Future[LoadedCheckpoint]:
        """Makes a checkpoint resident."""


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process decides when each of its servers ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: ASGIApp, *, host: str, port: int, connections: int = SPARE_CONNECTIONS) -> Server:
    """One listening server; the log is the process's own, and answers are counted, not logged."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        limit_concurrency=connections,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_CLOSING_SECONDS,
    )
    return Server(config)


async def load(engine: LoadingEngine, path: Path, *, state: RuntimeState, queue: JobQueue) -> None:
    """Makes the checkpoint resident; a failure is kept in the state, so that it can be read there."""
    state.begin_loading()
    try:
        engine.start()
        loaded = await asyncio.wrap_future(engine.load(path))
    except SdError as error:
        logger.error("the checkpoint was not loaded: %s", error, extra={"reason": error.reason})
        state.fail(str(error))
    except Exception:
        logger.exception("the checkpoint was not loaded")
        state.fail(f"an unforeseen error while loading {path.name}; the cause is in the log")
    else:
        queue.serve_with(engine)
        state.become_ready(loaded)
        logger.info(
            "ready", extra={"checkpoint": str(path), "sha256": loaded.sha256, "family": loaded.family}
        )


async def drain(*, state: RuntimeState, queue: JobQueue, seconds: float) -> None:
    """Refuses new requests and waits for the accepted ones."""
    state.drain()
    queue.stop_accepting()
    logger.info("shutting down: finishing what was accepted")
    if not await queue.drained(seconds):
        logger.warning("accepted requests were not finished within %s seconds; they were given up", seconds)


async def run(
    servers: list[Server],
    *,
    load_checkpoint: Callable[[], Coroutine[Any, Any, None]],
    drain_jobs: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Listens, then loads, then waits for SIGTERM or SIGINT; returns when everything has ended."""
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
            loading = group.create_task(load_checkpoint())
            await stop.wait()
            await drain_jobs()
            loading.cancel()
            for each in servers:
                each.should_exit = True
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
