"""The fetcher as the Job runs it: processes that are killed, stopped, doubled, or short of space."""

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

MIB = 1024 * 1024


def end(process, seconds=20):
    """The exit code and the log of a process."""
    _, log = process.communicate(timeout=seconds)
    return process.returncode, log


def test_a_verified_file_is_told_with_exit_code_0(fetches, server, made):
    code, log = end(fetches.start())
    assert code == 0, log
    assert fetches.told() == {
        "state": "Verified",
        "path": "models/Stable-diffusion/model.safetensors",
        "size": len(server.content),
        "sha256": made.sha256(server.content),
        "type": "Checkpoint",
        "family": "SD15",
        "rank": None,
        "sourceSha256": None,
        "source": server.url,
        "shared": False,
    }


def test_a_permanent_failure_is_told_with_exit_code_2(fetches, server, answer):
    server.script.append(answer.reply(404))
    code, log = end(fetches.start(source={"http": {"url": server.url + "?token=secret"}}))
    assert code == 2, log
    told = fetches.told()
    assert (told["state"], told["reason"], told["retryable"]) == ("Failed", "NotFound", False)
    assert "secret" not in log and "secret" not in told["message"]
    assert "Traceback" not in log


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_killed_fetch_is_gone_on_with_where_it_was(fetches, server, answer, made, how, ranges):
    server.content = made.checkpoint(size=40 * MIB)
    got = 5 * MIB + 123
    server.otherwise = answer.serve(stall=got, ranges=ranges)
    fetching = fetches.of(connections=2)
    first = fetching.start()
    expected = 65536 + 2 * got if ranges else got
    fetches.wait_until(lambda: fetches.part.exists() and fetches.arrived() == expected)
    begun = time.monotonic()
    first.send_signal(how)
    code, log = end(first, seconds=5)
    assert fetches.visible() == []
    if how is signal.SIGTERM:
        assert time.monotonic() - begun < 1.5
        assert code == 1, log
        assert fetches.told()["reason"] == "Interrupted" and fetches.told()["retryable"]
        assert "Traceback" not in log
    server.otherwise = answer.serve()
    server.go_on.set()
    server.wait_idle()
    server.served.clear()
    server.requests.clear()
    code, log = end(fetching.start())
    assert code == 0, log
    assert fetches.told()["sha256"] == made.sha256(server.content)
    assert sum(server.served) == len(server.content) - expected
    assert fetches.visible() == ["models/Stable-diffusion/model.safetensors"] and fetches.left() == []


@pytest.mark.parametrize("stage", ["before the head", "in the head", "while waiting to ask again"])
def test_a_fetch_stops_at_once_wherever_it_waits(fetches, server, answer, stage):
    begun = threading.Event()

    def wait(handler):
        if stage == "in the head":
            handler.head(206, {"Content-Range": f"bytes 0-65535/{10**6}", "ETag": '"one"'})
            handler.wfile.flush()
        begun.set()
        server.go_on.wait(20)
        handler.close_connection = True

    def refuse(handler):
        answer.reply(503, Retry_After=60)(handler)
        begun.set()

    server.otherwise = refuse if stage == "while waiting to ask again" else wait
    process = fetches.start()
    assert begun.wait(10)
    time.sleep(0.1)
    since = time.monotonic()
    process.terminate()
    code, log = end(process, seconds=5)
    assert code == 1 and "Traceback" not in log
    assert time.monotonic() - since < 1.5
    assert fetches.told()["reason"] == "Interrupted"
    server.go_on.set()


def wait_for(process, words):
    """Read the log until it has these words."""
    assert any(words in line for line in iter(process.stderr.readline, ""))


def test_two_fetches_of_one_file_download_it_once(fetches, server, answer):
    server.script.append(answer.serve(stall=1000))
    first = fetches.start()
    fetches.wait_until(lambda: bool(server.served) and server.served[0] >= 1000)
    second = fetches.start()
    wait_for(second, "is running; waiting")
    server.go_on.set()
    assert end(first)[0] == 0
    assert end(second)[0] == 0
    assert len(server.requests) == 1
    assert len(fetches.entries()) == 1


def test_a_waiting_fetch_stops_when_told(fetches, server, answer):
    server.script.append(answer.serve(stall=1000))
    first = fetches.start()
    fetches.wait_until(lambda: bool(server.served) and server.served[0] >= 1000)
    second = fetches.start()
    wait_for(second, "is running; waiting")
    second.terminate()
    assert end(second, seconds=5)[0] == 1
    server.go_on.set()
    assert end(first)[0] == 0


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"SD_FETCH_FILE": ""}, "SD_FETCH_FILE is not set"),
        ({"SD_FETCH_FILE": "{}", "HF_ENDPOINT": "huggingface.co"}, "HF_ENDPOINT"),
        ({"SD_FETCH_CONNECTIONS": "many"}, "SD_FETCH_CONNECTIONS"),
    ],
)
def test_a_malformed_environment_is_permanent_and_named(fetches, env, says):
    code, log = end(fetches.start(env=env))
    assert code == 2 and "Traceback" not in log
    told = fetches.told()
    assert told["reason"] == "InvalidRequest" and says in told["message"]


def test_a_verdict_that_cannot_be_written_leaves_the_exit_code(fetches):
    fetches.verdict.mkdir()
    code, log = end(fetches.start())
    assert code == 0 and "the verdict could not be written" in log


def may_mount():
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    tried = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="needs root and the right to mount")


def under(script):
    return ("unshare", "-m", "sh", "-c", f'{script} && exec "$@"', "sh")


@needs_mounts
@pytest.mark.parametrize("length_told", [True, False])
def test_a_full_volume_is_told(fetches, server, answer, made, length_told):
    """A real file system of 1 MiB: seen before the bytes when their number is told, else when it is full."""
    server.content = made.checkpoint(size=3 * MIB)
    if not length_told:
        fetches.policy = "Unsafe"
        server.content = b"PK\x03\x04" + bytes(3 * MIB)
        ending = {"Content-Length": None, "Connection": "close"}
        server.otherwise = answer.serve(ranges=False, headers=ending, cut=10**9)
    mounted = under(f"mount -t tmpfs -o size=1m tmpfs {fetches.root}")
    code, log = end(fetches.start(under=mounted, **({} if length_told else {"fileName": "a.ckpt"})))
    assert code == 1 and "Traceback" not in log, log
    told = fetches.told()
    assert told["reason"] == "NoSpace" and "spec.storage.size" in told["message"]
    assert ("bytes free" in told["message"]) == length_told


@needs_mounts
def test_a_volume_that_fills_while_the_file_comes_is_told(fetches, server, answer, made):
    server.content = made.checkpoint(size=6 * MIB)
    filler = f"dd if=/dev/zero of={fetches.root}/filler bs=1M count=4 2>/dev/null"
    mounted = under(f"mount -t tmpfs -o size=8m tmpfs {fetches.root}")
    server.script += [answer.serve(), answer.serve(stall=1 * MIB)]
    process = fetches.start(under=mounted)
    fetches.wait_until(lambda: len(server.served) == 2 and server.served[1] >= MIB)
    subprocess.run(
        ["nsenter", "-t", str(process.pid), "-m", "sh", "-c", filler], check=True, capture_output=True
    )
    server.go_on.set()
    code, log = end(process)
    assert code == 1 and fetches.told()["reason"] == "NoSpace", log


@needs_mounts
def test_a_volume_that_cannot_be_written_is_told(fetches):
    mounted = under(f"mount -t tmpfs -o ro tmpfs {fetches.root}")
    code, log = end(fetches.start(under=mounted))
    assert code == 2 and "Traceback" not in log
    assert fetches.told()["reason"] == "VolumeError" and "cannot be written" in fetches.told()["message"]


def test_a_volume_that_is_not_there_is_told(fetches):
    fetches.root.rmdir()
    code, _ = end(fetches.start())
    assert code == 2 and fetches.told()["reason"] == "VolumeError"


def test_memory_stays_small_whatever_the_size(fetches, server, answer, made):
    server.content = made.checkpoint(size=70 * MIB)
    server.otherwise = answer.serve(stall=12 * MIB)
    process = fetches.of(connections=4).start()
    fetches.wait_until(lambda: fetches.part.exists() and fetches.arrived() > 48 * MIB)
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    server.go_on.set()
    assert end(process)[0] == 0
    assert peak < 100 * 1024  # KiB
