"""examples/plugin, which has nothing of the project's, in its own processes, as its container starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from plugin_processes import ROOT, Supervised, body, client, until

_RUN = "/v1/run/pixelate"


@pytest.fixture
def example(socket: Path) -> Iterator[Supervised]:
    log = socket.with_suffix(".log")
    command = [sys.executable, str(ROOT / "examples/plugin/pixelate.py")]
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, env=os.environ | {"SD_PLUGIN_SOCKET": str(socket)}, stdout=written, stderr=written
        )
    running = Supervised(process, socket, log)
    until(running.serves, "the example")
    yield running
    process.kill()
    process.wait()


def test_a_run_past_its_deadline_is_answered_504_and_ended(example: Supervised) -> None:
    with client(example.socket) as asking:
        assert asking.post(_RUN, content=body()).status_code == 200
        (worker,) = example.workers()
        os.kill(worker, signal.SIGSTOP)  # so that the run never ends by itself
        answer = asking.post(_RUN, content=body(), headers={"Sd-Deadline": "0.3"})
        assert (answer.status_code, answer.json()["error"]) == (504, "DeadlineExceeded")
        until(lambda: worker not in example.workers(), "the end of the process that computed it")
        assert asking.post(_RUN, content=body()).status_code == 200


def test_a_killed_worker_fails_its_run_alone(example: Supervised) -> None:
    with client(example.socket) as asking:
        assert asking.post(_RUN, content=body()).status_code == 200
        (worker,) = example.workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in example.workers(), "the worker's end")
        assert asking.post(_RUN, content=body()).status_code in (200, 500)
        assert asking.post(_RUN, content=body()).status_code == 200


def test_runs_at_once_fit_into_the_memory_its_manifest_gives_it(example: Supervised) -> None:
    manifest = yaml.safe_load((ROOT / "examples/plugin/pixelate.yaml").read_text())
    most = manifest["spec"]["resources"]["limits"]["memory"]
    assert most.endswith("Mi")
    largest, peak = body(2000, 2000), 0
    with ThreadPoolExecutor(4) as threads, client(example.socket) as asking:
        runs = [threads.submit(asking.post, _RUN, content=largest) for _ in range(4)]
        while not all(each.done() for each in runs):
            workers = example.workers()
            peak = max(peak, sum(map(_taken, [example.process.pid, *workers])))
            assert len(workers) <= 1  # whatever the number of processors
            time.sleep(0.02)
    assert [each.result().status_code for each in runs] == [200] * 4
    assert 0 < peak < int(most[:-2]) << 20


def _taken(process: int) -> int:
    """Bytes of memory that are this process's own, and its share of others'."""
    try:
        told = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it has just ended
        return 0
    return int(re.search(r"^Pss:\s+(\d+)", told, re.M)[1]) << 10  # type: ignore[index]


def test_it_ends_on_sigterm_and_replaces_a_socket_that_was_left(example: Supervised, socket: Path) -> None:
    example.process.kill()
    example.process.wait()
    assert socket.exists()
    again = subprocess.Popen(
        [sys.executable, str(ROOT / "examples/plugin/pixelate.py")],
        env=os.environ | {"SD_PLUGIN_SOCKET": str(socket)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running = Supervised(again, socket, socket.with_suffix(".log"))
    until(running.serves, "the example")
    assert running.end() < 10
