"""Too few processes, files or places, and clients that go away: the container stays up and wastes nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket as sockets
import threading
import time
from pathlib import Path

import httpx
import plain
import pytest
from plugin_processes import body, client, serving, supervised, until

from sd_plugin import standin
from sd_plugin.module import Result
from sd_plugin.runs import Runs, Unwanted
from sd_plugin.server import create_app


def test_a_worker_that_cannot_be_started_is_tried_again(socket: Path) -> None:
    with supervised("plain:plugin", socket) as running:
        until(running.serves, "a worker")
        limits = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        open_files = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (open_files - 1, limits[1]))
        (worker,) = running.workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: "no worker can be started: Too many open files" in running.log(), "a failed start")
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limits)
        until(running.serves, "another worker")


def test_clients_that_send_a_byte_now_and_then_do_not_keep_the_places(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin, "_SECONDS", 0.3)
    with sockets.socket(sockets.AF_UNIX) as listening, sockets.socket(sockets.AF_UNIX) as slow:
        listening.bind(str(socket))
        listening.listen()
        slow.connect(str(socket))
        place = standin.StandIn()
        before = threading.active_count()
        place.accept(listening, "it is being started", 1.0)
        until(lambda: threading.active_count() > before, "the answering thread")
        began = time.monotonic()
        while threading.active_count() > before and time.monotonic() - began < 5:
            try:
                slow.send(b"x")
            except OSError:
                break
            time.sleep(0.05)
        until(lambda: threading.active_count() == before, "the thread's end", 1.0)
        assert time.monotonic() - began < 2


async def test_a_run_whose_caller_goes_before_it_began_is_given_up() -> None:
    runs, begun = Runs(1), []
    until_then = time.monotonic() + 20
    first = asyncio.create_task(runs.run(lambda: time.sleep(0.3), name="first", until=until_then, seconds=20))
    await asyncio.sleep(0.05)
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    second = asyncio.create_task(
        runs.run(lambda: begun.append(1), name="second", until=until_then, seconds=20, gone=gone)
    )
    await asyncio.sleep(0.05)
    gone.set_result(None)
    with pytest.raises(Unwanted):
        await second
    await first
    # Its place is free again.
    await runs.run(lambda: None, name="third", until=until_then, seconds=20)
    assert begun == []


def test_a_client_that_goes_away_while_it_waits_costs_no_run(socket: Path) -> None:
    computed = []

    def call(image, mask, parameters) -> Result:  # type: ignore[no-untyped-def]
        computed.append(parameters["strength"])
        time.sleep(0.6)
        return plain.as_it_is(image, mask, parameters)

    made = plain.made(call)
    with serving(create_app(made, Runs(1)), socket), client(socket) as asking:
        first = threading.Thread(target=asking.post, args=("/v1/run/plain",), kwargs={"content": body()})
        first.start()
        until(lambda: computed, "the first run")
        with client(socket) as hasty, pytest.raises(httpx.ReadTimeout):
            hasty.post("/v1/run/plain", content=body(parameters=b'{"strength": 2}'), timeout=0.1)
        first.join()
        assert asking.post("/v1/run/plain", content=body()).status_code == 200
    assert computed == [1.0, 1.0]
