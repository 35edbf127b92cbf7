"""The container stays up whatever its worker does: real processes, ended as they end in a cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest
from plugin_processes import body, client, supervised, until

from sd_plugin.listening import is_served

_STRONG = b'{"strength": 2}'
#: One failure is enough to be told of.
_QUICK = "pauses=(20.0,)"


def test_a_worker_killed_in_the_midst_of_a_run_fails_that_run_and_no_other(socket: Path) -> None:
    with supervised("crashes_in_run:plugin", socket) as running, client(socket) as asking:
        until(running.serves, "a worker")
        with pytest.raises(httpx.RemoteProtocolError):
            asking.post("/v1/run/plain", content=body(parameters=_STRONG))
        # It waits in the backlog for the next worker.
        assert asking.post("/v1/run/plain", content=body()).status_code == 200
        assert "ended by SIGKILL, perhaps for want of memory" in running.log()


def test_a_worker_killed_from_outside_is_replaced(socket: Path) -> None:
    with supervised("slow_in_run:plugin", socket) as running, client(socket) as asking:
        until(running.serves, "a worker")
        (worker,) = running.workers()
        threading.Timer(0.3, os.kill, (worker, signal.SIGKILL)).start()
        with pytest.raises(httpx.RemoteProtocolError):
            asking.post("/v1/run/plain", content=body())
        assert asking.post("/v1/run/plain", content=body()).status_code == 200
        assert running.workers() != [worker]


def test_a_run_that_never_ends_is_504_and_its_worker_is_replaced(socket: Path) -> None:
    with supervised("hangs_in_run:plugin", socket) as running, client(socket) as asking:
        until(running.serves, "a worker")
        before = running.workers()
        answer = asking.post(
            "/v1/run/plain", content=body(parameters=_STRONG), headers={"Sd-Deadline": "0.5"}
        )
        assert (answer.status_code, answer.json()["error"]) == (504, "DeadlineExceeded")
        until(lambda: running.workers() not in (before, []), "another worker")
        assert asking.post("/v1/run/plain", content=body()).status_code == 200
        assert "a run went on past its deadline and could not be ended" in running.log()


def test_a_worker_that_gives_no_sign_of_life_is_replaced(socket: Path) -> None:
    """The run that keeps it from them may be the very first thing that it is asked for."""
    with (
        supervised("holds_the_interpreter:plugin", socket, "silent=5") as running,
        client(socket) as asking,
    ):
        until(lambda: is_served(socket), "the socket")
        with pytest.raises(httpx.HTTPError):
            asking.post("/v1/run/plain", content=body(parameters=_STRONG))
        until(lambda: "gave no sign of life for 5 s" in running.log(), "its end")
        until(running.serves, "another worker")
        assert asking.post("/v1/run/plain", content=body()).status_code == 200


@pytest.mark.parametrize(
    ("plugin", "timing", "reason"),
    [
        (
            "ends_at_start:plugin",
            _QUICK,
            "exit status 1; its last words: RuntimeError: the weights are of another",
        ),
        (
            "no_such_plugin",
            _QUICK,
            "exit status 1; its last words: plugin: 'no_such_plugin' is not accepted; allowed:",
        ),
        (
            "breaks_the_contract:plugin",
            _QUICK,
            "breaks the contract: : Value error, module 'plain' is there more",
        ),
        (
            "hangs_at_start:plugin",
            "pauses=(20.0,), start=0.5",
            "did not serve within 0.5 s of its start; it is",
        ),
    ],
)
def test_while_no_worker_can_be_had_every_request_is_told_why(
    plugin: str, timing: str, reason: str, socket: Path
) -> None:
    with supervised(plugin, socket, timing) as running, client(socket) as asking:
        until(lambda: (answer := running.answers()) and answer.status_code == 503, "an answer")
        answers = [asking.get("/v1/plugin"), asking.post("/v1/run/plain", content=body(1000, 1000))]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.json()["error"] == "Unavailable"
            assert answer.json()["detail"].startswith(
                ("tried: the worker ended", "tried: the worker did not")
            )
            assert reason in answer.json()["detail"]
            assert int(answer.headers["Retry-After"]) >= 1


def test_what_was_mended_serves_again_without_anybodys_help(socket: Path) -> None:
    plugin = socket.with_name("mended.py")
    plugin.write_text("raise RuntimeError('not yet')")
    path = f"{os.environ.get('PYTHONPATH', '')}:{plugin.parent}"
    timing = "pauses=(1.5,)"
    with supervised("mended:plugin", socket, timing, **_with_path(path)) as running:
        until(lambda: (answer := running.answers()) and answer.status_code == 503, "an answer")
        plugin.write_text("from plain import plugin")
        until(running.serves, "a worker")


def _with_path(path: str) -> dict[str, str]:
    from plugin_processes import _PATH

    return {"PYTHONPATH": ":".join([*map(str, _PATH), path])}


def test_sigterm_lets_a_run_under_way_finish(socket: Path) -> None:
    with supervised("slow_in_run:plugin", socket) as running, client(socket) as asking:
        until(running.serves, "a worker")
        threading.Timer(0.3, running.process.send_signal, (signal.SIGTERM,)).start()
        assert asking.post("/v1/run/plain", content=body()).status_code == 200
        assert running.process.wait(5) == 0


def test_sigterm_ends_also_what_does_not_want_to_end(socket: Path) -> None:
    with supervised("hangs_in_run:plugin", socket, "end=1.0") as running, client(socket) as asking:
        until(running.serves, "a worker")
        (worker,) = running.workers()
        hanging = threading.Thread(target=_ask_in_vain, args=(asking,))
        hanging.start()
        time.sleep(0.5)
        assert running.end() < 3
        assert running.process.returncode == 0
        hanging.join()
        assert not Path(f"/proc/{worker}").exists()


def _ask_in_vain(asking: httpx.Client) -> None:
    with pytest.raises(httpx.HTTPError):
        asking.post("/v1/run/plain", content=body(parameters=_STRONG))


@pytest.mark.parametrize("plugin", ["plain:plugin", "ends_at_start:plugin", "hangs_at_start:plugin"])
def test_sigterm_ends_in_time_and_takes_the_socket_away(plugin: str, socket: Path) -> None:
    with supervised(plugin, socket) as running:
        until(socket.exists, "the socket")
        time.sleep(0.5)
        assert running.end() < 5
        assert running.process.returncode == 0
        assert not socket.exists()


def test_a_worker_does_not_outlive_its_supervisor(socket: Path) -> None:
    with supervised("plain:plugin", socket) as running:
        until(running.serves, "a worker")
        (worker,) = running.workers()
        running.process.kill()
        running.process.wait()
        until(lambda: not Path(f"/proc/{worker}").exists(), "the worker's end")


def test_orphans_are_taken_note_of(socket: Path) -> None:
    with supervised("leaves_orphans:plugin", socket, "end=8.0") as running, client(socket) as asking:
        until(running.serves, "a worker")
        assert asking.post("/v1/run/plain", content=body()).status_code == 200
        until(lambda: len(running.workers()) > 1, "the orphan")
        until(lambda: len(running.workers()) == 1, "its end")


def test_a_socket_left_by_a_dead_process_is_replaced(socket: Path) -> None:
    with supervised("plain:plugin", socket) as first:
        until(first.serves, "a worker")
        first.process.kill()
        first.process.wait()
        until(lambda: not is_served(socket), "its worker's end")
    assert socket.exists()
    with supervised("plain:plugin", socket) as second:
        until(second.serves, "a worker")


def test_a_socket_that_is_served_is_not_taken_over(socket: Path) -> None:
    with supervised("plain:plugin", socket) as first:
        until(first.serves, "a worker")
        with supervised("plain:plugin", socket) as second:
            assert second.process.wait(10) == 1
            assert (
                f"socket: {socket} is served by another process; allowed: a path of its own" in second.log()
            )
        assert first.serves()


def test_it_is_called_what_the_environment_calls_it(socket: Path) -> None:
    with supervised("plain:plugin", socket, SD_PLUGIN_NAME="mine") as running, client(socket) as asking:
        until(running.serves, "a worker")
        assert asking.get("/v1/plugin").json()["name"] == "mine"
