"""Plugins being served: an application in a thread of this process, or a supervisor with its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from sd_plugin import archive
from sd_plugin.conformance.probe import picture
from sd_plugin.listening import is_served

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
_PATH = [HERE, HERE / "misbehaving", ROOT / "runtime", ROOT / "modelfiles"]


def client(socket: Path) -> httpx.Client:
    """A caller of the plugin."""
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://p", timeout=20)


def body(height: int = 64, width: int = 64, **entries: bytes) -> bytes:
    """A request with a picture, and parameters as JSON where given."""
    given = {"image.npy": archive.npy(picture(height, width))}
    if "parameters" in entries:
        given["parameters.json"] = entries["parameters"]
    return archive.pack(given)


def until(holds: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """What `holds` says once that is true."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
    return found


@contextmanager
def serving(app: Any, socket: Path) -> Iterator[None]:
    """The application on the socket, in a thread."""
    server = uvicorn.Server(
        uvicorn.Config(app, uds=str(socket), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the server's start")
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


class Supervised:
    """A supervisor as its own process, which `serve` starts as a container does."""

    def __init__(self, process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
        self.process = process
        self.socket = socket
        self._log = log

    def log(self) -> str:
        """What supervisor and workers wrote."""
        return self._log.read_text()

    def workers(self) -> list[int]:
        """The processes that the supervisor has, dead ones that nobody has taken note of included."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in children.read_text().split()]

    def answers(self) -> httpx.Response | None:
        """The answer to GET /healthz, if there is one by now."""
        # httpx leaves a socket open that it could not connect.
        if not is_served(self.socket):
            return None
        try:
            with client(self.socket) as asking:
                return asking.get("/healthz", timeout=0.5)
        except httpx.HTTPError:
            return None

    def serves(self) -> bool:
        """Whether a worker answers."""
        answer = self.answers()
        return answer is not None and answer.status_code == 200

    def end(self) -> float:
        """Sends SIGTERM and returns the seconds until it has ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)
        return time.monotonic() - began


@contextmanager
def supervised(plugin: str, socket: Path, timing: str = "", **environment: str) -> Iterator[Supervised]:
    """`sd_plugin serve` for a module of this folder; with other times where `timing` has arguments of
    `Timing`, as an orphans' new parent as a container's first process is."""
    command = [sys.executable, "-m", "sd_plugin", "serve", plugin]
    if timing:
        worker = f"[sys.executable, '-m', 'sd_plugin', 'worker', '{plugin}']"
        made = f"Supervisor('tried', {worker}, Path('{socket}'), Timing({timing}))"
        imports = "import ctypes, sys; from pathlib import Path; from sd_plugin.supervisor import *"
        becoming = "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)"  # PR_SET_CHILD_SUBREAPER
        command = [sys.executable, "-c", f"{imports}; {becoming}; sys.exit({made}.run())"]
    environment = {"PYTHONPATH": ":".join(map(str, _PATH)), "SD_PLUGIN_SOCKET": str(socket)} | environment
    log = socket.with_suffix(".log")
    with log.open("wb") as written:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=written, stderr=written)
    try:
        yield Supervised(process, socket, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # Shown where the test fails.
        print(log.read_text())
