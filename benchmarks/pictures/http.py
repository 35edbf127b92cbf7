"""What a request costs beside its picture: the server as a process of its own, over HTTP on loopback."""

import base64
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pictures import rig
from benchmarks.pictures.section import Section
from benchmarks.rig.processes import ROOT

REPEATS = 30
BODY = {
    "prompt": "a large red circle on the left, white background",
    "width": 64,
    "height": 64,
    "steps": 1,
    "cfg_scale": 3.0,
    "seed": 1,
    "sampler_name": "Euler",
}
START_SECONDS = 120


def measure() -> Section:
    """Milliseconds a request of one step takes, and the same picture from the engine itself."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rig.lay_out(root)
        with rig.engine(root / rig.CHECKPOINT, root=root, calls=rig.Calls()) as engine:
            request = rig.picture(steps=1, sampler="Euler", scheduler="automatic")
            inside = _timed(lambda: rig.wait([engine.submit(request)]))
        with serving(root) as base:
            listing = _timed(lambda: _get(f"{base}/sdapi/v1/samplers"))
            whole = _timed(lambda: _post(f"{base}/sdapi/v1/txt2img", BODY))
    rows = [
        ("the picture, from the engine", f"{inside:.1f} ms"),
        ("POST /sdapi/v1/txt2img", f"{whole:.1f} ms"),
        ("the difference: HTTP, JSON, planning, PNG, saving", f"{whole - inside:.1f} ms"),
        ("GET /sdapi/v1/samplers", f"{listing:.1f} ms"),
    ]
    return Section("A request over HTTP, 64x64, one step", ("what", "median"), rows, f"Median of {REPEATS}.")


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The address of a server of the models below `root`, which has made a picture."""
    port = _free_port()
    server = _start(root, port)
    try:
        base = f"http://127.0.0.1:{port}"
        _until_ready(base, server)
        yield base
    finally:
        server.terminate()
        server.wait(30)


def _timed(call: Any) -> float:
    for _ in range(3):
        call()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _start(root: Path, port: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "sd_runtime", "--models-dir", str(root), "--port", str(port)]
    command += ["--output-dir", str(root / "outputs"), "--management-port", "0"]
    path = ".:modelfiles:operator:runtime"
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL
    )


def _until_ready(base: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(START_SECONDS * 5):
        if server.poll() is not None:
            raise RuntimeError("the server ended by itself")
        try:
            _post(f"{base}/sdapi/v1/txt2img", BODY)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the server did not become ready")


def _get(address: str) -> Any:
    with urllib.request.urlopen(address) as answer:
        return json.load(answer)


def _post(address: str, body: Any) -> None:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        base64.b64decode(json.load(answer)["images"][0])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
