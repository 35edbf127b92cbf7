"""The whole process with real tiny networks and plugins at real sockets: it finds them, uses them, and ends
while one of them hangs."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from sd_runtime import process
from sd_runtime.images import codec
from sd_runtime.settings import Settings
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import module

WAIT = 60.0
PICTURE = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Path]:
    """A folder with two upscalers, one of which hangs."""
    folder = tmp_path / "sockets"
    folder.mkdir()
    made = [
        misbehaving.Plugin(folder, "large", kind="Upscaler", modules=[module("x2", factor=2)]),
        misbehaving.Hanging(folder, "stuck", kind="Upscaler", modules=[module("hang", factor=2)]),
    ]
    for plugin in made:
        plugin.listen()
    yield folder
    for plugin in made:
        plugin.stop()


async def test_plugins_in_the_folder_are_used_and_one_that_hangs_does_not_keep_the_process(
    checkpoint_file: Path, tmp_path: Path, sockets: Path
) -> None:
    port = free_port()
    settings = Settings(
        checkpoint=checkpoint_file,
        host="127.0.0.1",
        port=port,
        management_port=None,
        auth="disabled",
        warm_up="off",
        page="off",
        output_dir=tmp_path,
        device="cpu",
        plugin_dir=sockets,
        drain_seconds=0.5,
    )
    living = asyncio.create_task(process.live(settings))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/sdapi/v1", timeout=WAIT) as client:

        async def enlarge(upscaler: str) -> httpx.Response:
            picture = base64.b64encode(codec.encode(PICTURE, "png", None)).decode()
            body: dict[str, Any] = {"image": picture, "upscaler_1": upscaler, "upscaling_resize": 2}
            return await client.post("/extra-single-image", json=body)

        async with asyncio.timeout(WAIT):
            while True:
                try:
                    answer = await enlarge("x2")
                    if answer.status_code == 200:
                        break
                    assert answer.status_code in (422, 503), answer.text  # not polled, not loaded yet
                except httpx.ConnectError:
                    pass
                await asyncio.sleep(0.05)
        made = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["image"]))))
        assert np.array_equal(made, PICTURE.repeat(2, axis=0).repeat(2, axis=1))

        stuck = asyncio.create_task(enlarge("hang"))
        await asyncio.sleep(0.5)
        assert not stuck.done()
        assert (await enlarge("x2")).status_code == 200
        began = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        answer = await stuck
        assert answer.status_code in (502, 503), answer.text
    await asyncio.wait_for(living, WAIT)
    assert time.monotonic() - began < 15, "it waited for the plugin's time to run out"
