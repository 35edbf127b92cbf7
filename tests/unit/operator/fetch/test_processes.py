"""The fetcher as the Job runs it: processes that are killed, stopped, doubled, or short of space."""

import os
import shutil
import signal
import subprocess
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
        "family": "SD15",
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
def test_a_killed_fetch_is_gone_on_with_where_it_was(fetches, server, answer, made, how):
    server.content = made.checkpoint(size=6 * MIB)
    got = 5 * MIB + 123
    server.script.append(answer.serve(stall=got))
    first = fetches.start()
    fetches.wait_until(lambda: fetches.part.exists() and fetches.part.stat().st_size >= got)
    first.send_signal(how)
    code, log = end(first, seconds=5)
    assert not (fetches.root / "models").exists()
    if how is signal.SIGTERM:
        assert code == 1, log
        assert fetches.told()["reason"] == "Interrupted" and fetches.told()["retryable"]
        assert "Traceback" not in log
    server.go_on.set()
    server.served.clear()
    code, log = end(fetches.start())
    assert code == 0, log
    assert fetches.told()["sha256"] == made.sha256(server.content)
    assert sum(server.served) == len(server.content) - got
    assert fetches.visible() == ["model.safetensors"] and fetches.left() == []


def test_two_fetches_of_one_file_download_it_once(fetches, server, answer):
    server.script.append(answer.serve(stall=1000))
    first = fetches.start()
    fetches.wait_until(lambda: bool(server.served) and server.served[0] >= 1000)
    second = fetches.start()
    assert second.stderr is not None
    lines = iter(second.stderr.readline, "")
    assert any("another fetch of file base is running" in line for line in lines)
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
    assert second.stderr is not None
    assert any("another fetch" in line for line in iter(second.stderr.readline, ""))
    second.terminate()
    assert end(second, seconds=5)[0] == 1
    server.go_on.set()
    assert end(first)[0] == 0


@pytest.mark.parametrize(
    ("text", "env", "says"),
    [("", {}, "SD_FETCH_FILE is not set"), ("{}", {"HF_ENDPOINT": "huggingface.co"}, "HF_ENDPOINT")],
)
def test_a_malformed_environment_is_permanent_and_named(fetches, text, env, says):
    code, log = end(fetches.start_with(text, **env))
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


@pytest.mark.skipif(not may_mount(), reason="needs root and the right to mount")
@pytest.mark.parametrize("length_told", [True, False])
def test_a_full_volume_is_told(fetches, server, answer, made, length_told):
    """A real file system of 1 MiB: seen before the bytes when their number is told, else when it is full."""
    server.content = made.checkpoint(size=3 * MIB)
    headers = {} if length_told else {"Content-Length": None, "Connection": "close"}
    server.script.append(answer.serve(headers=headers, cut=None if length_told else 10**9))
    script = f'mount -t tmpfs -o size=1m tmpfs {fetches.root} && exec "$@"'
    code, log = end(fetches.start(under=("unshare", "-m", "sh", "-c", script, "sh")))
    assert code == 1, log
    told = fetches.told()
    assert told["reason"] == "NoSpace" and "spec.storage.size" in told["message"]
    assert ("bytes free" in told["message"]) == length_told


def test_memory_stays_small_whatever_the_size(fetches, server, answer, made):
    server.content = made.checkpoint(size=70 * MIB)
    server.script.append(answer.serve(stall=69 * MIB))
    process = fetches.start()
    fetches.wait_until(lambda: fetches.part.exists() and fetches.part.stat().st_size >= 69 * MIB)
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    server.go_on.set()
    assert end(process)[0] == 0
    assert peak < 100 * 1024  # KiB
