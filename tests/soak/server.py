"""The runtime as a process of its own, on the demo's checkpoint, for tests that mistreat it over HTTP."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pictures import rig
from benchmarks.rig.processes import ROOT

_START_SECONDS = 120
PICTURE = {
    "prompt": "a large red circle, white background",
    "width": 64,
    "height": 64,
    "steps": 2,
    "cfg_scale": 3,
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    address: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def rss_mib(self) -> float:
        """Memory that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def picture(self) -> Any:
        """The answer to a small request; raises where there is none."""
        request = urllib.request.Request(
            f"{self.address}/sdapi/v1/txt2img",
            json.dumps(PICTURE).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Server]:
    """The demo's models below `folder`, served with these settings (`SD_` and the name)."""
    models = folder / "volume"
    rig.lay_out(models)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    log = folder / "server.log"
    command = [sys.executable, "-m", "sd_runtime", "--models-dir", str(models), "--port", str(port)]
    command += ["--management-port", "0", "--output-dir", str(folder / "outputs")]
    environment = {f"SD_{name.upper()}": value for name, value in settings.items()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": ".:modelfiles:operator:runtime", **environment},
            stdout=output,
            stderr=output,
        )
    server = Server(f"http://127.0.0.1:{port}", log, process)
    try:
        _until_ready(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _until_ready(server: Server) -> None:
    for _ in range(_START_SECONDS * 5):
        assert server.process.poll() is None, server.log.read_text()[-4000:]
        try:
            server.picture()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"the server did not become ready: {server.log.read_text()[-4000:]}")
