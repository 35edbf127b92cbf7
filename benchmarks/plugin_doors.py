"""The ways to a module that `benchmarks.plugins` compares: the contract, a call, base64 JSON over HTTP."""

import asyncio
import base64
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
from PIL import Image

from benchmarks.rig.processes import ROOT
from demo.annotators import hed
from sd_plugin import loading, settings
from sd_plugin.module import Module, Pixels, Plugin
from sd_runtime.plugins import Plugins

START_SECONDS = 120.0
UPSCALER = ROOT / "demo" / "models" / "upscalers" / "realesr-animevideov3-x4.safetensors"


class Detect(Protocol):
    """The alternative: a picture in, a picture out, as `/detect` has them."""

    def run(self, module: str, image: Pixels, parameters: Mapping[str, float]) -> Pixels:
        """What the module makes of the picture."""
        ...


def environment(package: str, folder: Path) -> dict[str, str]:
    """Of the plugin's processes: where its weights are, which are laid out below the folder."""
    models = folder / "models"
    if not models.is_dir():
        (models / "Annotators").mkdir(parents=True)
        (models / "Annotators" / hed.NAME).symlink_to(hed.make())
        # The smaller of the demo's: the other takes minutes for a picture of 512 pixels a side.
        (models / "ESRGAN").mkdir()
        (models / "ESRGAN" / UPSCALER.name).symlink_to(UPSCALER)
    found = {settings.MODELS: str(folder)}
    if package == "openpose":
        poses = subprocess.run(["hack/pose-models"], cwd=ROOT, capture_output=True, text=True, check=True)
        found[settings.POSE_MODELS] = poses.stdout.strip()
    return found


def load(name: str, environment: Mapping[str, str]) -> Plugin:
    """The plugin in this process."""
    os.environ.update(environment)
    return loading.load(name)


def whole(module: Module, parameters: Mapping[str, float]) -> dict[str, float]:
    """The parameters as the plugin's server gives them to the module."""
    kinds = {each.name: each.type for each in module.description.parameters}
    return {name: int(value) if kinds[name] == "integer" else value for name, value in parameters.items()}


@contextmanager
def contract(package: str, name: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Plugins]:
    """The runtime's own client of a supervised plugin called so, which answers."""
    place = folder / name
    place.mkdir()
    client = Plugins(place, seconds=600)
    ended = threading.Event()
    following = threading.Thread(target=lambda: asyncio.run(_follow(client, ended)), daemon=True)
    following.start()
    command = ["-m", "sd_plugin", "serve", package, "--socket", str(place / f"{name}.sock")]
    try:
        with _process(command, {**environment, settings.NAME: name}):
            until = time.monotonic() + START_SECONDS
            while not (states := client.states()) or not states[0].ready:
                if time.monotonic() > until:
                    raise TimeoutError(f"{name} does not answer: {states}")
                time.sleep(0.1)
            yield client
    finally:
        ended.set()
        following.join()
        client.close()


async def _follow(client: Plugins, ended: threading.Event) -> None:
    """As the runtime's own loop does, until that is set."""
    task = asyncio.create_task(client.follow())
    while not ended.is_set():
        await asyncio.sleep(0.1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@contextmanager
def detect(package: str, environment: Mapping[str, str]) -> Iterator[Detect]:
    """A server of the same modules on a TCP port, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        _process(["-m", "benchmarks.plugin_doors", package, str(port)], environment),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client,
    ):
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                client.get("/")
                break
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield _OverHTTP(client)


class _OverHTTP:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def run(self, module: str, image: Pixels, parameters: Mapping[str, float]) -> Pixels:
        body = {"module": module, "image": _encoded(image), "parameters": dict(parameters)}
        answer = self._client.post("/detect", json=body)
        answer.raise_for_status()
        return _decoded(answer.json()["image"])


def _encoded(image: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _decoded(text: str) -> Pixels:
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


@contextmanager
def _process(arguments: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".:modelfiles:operator:runtime", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _serve(name: str, port: int) -> None:
    """The other side of `detect`."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    modules = {module.description.name: module for module in loading.load(name).modules}

    def run(body: Any) -> str:
        module = modules[body["module"]]
        return _encoded(module.run(_decoded(body["image"]), None, whole(module, body["parameters"])).image)

    async def answer(request: Request) -> JSONResponse:
        return JSONResponse({"image": await run_in_threadpool(run, await request.json())})

    app = Starlette(routes=[Route("/detect", answer, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
