"""The whole process with real tiny networks ends while pictures are being decoded."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from sd_runtime import process
from sd_runtime.settings import Settings

WAIT = 60.0
TILE_SECONDS = 0.1
TILES = 9
PICTURES = 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The tiles that were decoded of each picture, told apart by their memory; each takes a while."""
    from diffusers import AutoencoderKL

    from sd_runtime.models import vae

    counts: dict[int, int] = {}
    real = AutoencoderKL.decode

    def slow(network: Any, latents: Any, **more: Any) -> Any:
        if latents.shape[-1] < 8:  # not the small picture of the warm-up
            picture = latents.untyped_storage().data_ptr()
            counts[picture] = counts.get(picture, 0) + 1
            time.sleep(TILE_SECONDS)
        return real(network, latents, **more)

    monkeypatch.setattr(vae, "_MOST_CELLS", 100)
    monkeypatch.setattr(vae, "_TILES", (6, 4))
    monkeypatch.setattr(AutoencoderKL, "decode", slow)
    return counts


async def until(holds: Any) -> None:
    async with asyncio.timeout(WAIT):
        while not holds():
            await asyncio.sleep(0.005)


async def test_on_sigterm_every_picture_being_decoded_is_finished_and_the_process_ends(
    checkpoint_file: Path, tmp_path: Path, decodings: dict[int, int]
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
    )
    threads = set(threading.enumerate())
    living = asyncio.create_task(process.live(settings))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT) as client:

        async def ask(**changes: Any) -> httpx.Response:
            body = {"prompt": "a red cat", "width": 128, "height": 128, "steps": 2, **changes}
            return await client.post("/sdapi/v1/txt2img", json=body)

        async with asyncio.timeout(WAIT):
            while True:
                try:
                    if (await ask(width=64, height=64, steps=1)).status_code == 200:
                        break
                except httpx.ConnectError:
                    pass
                await asyncio.sleep(0.05)
        asked = [asyncio.create_task(ask(seed=seed)) for seed in range(PICTURES)]
        await until(lambda: len(decodings) >= 2)
        began = time.monotonic()
        assert sum(decodings.values()) < PICTURES * TILES
        os.kill(os.getpid(), signal.SIGTERM)
        answers = await asyncio.gather(*asked)
        assert [answer.status_code for answer in answers] == [200] * PICTURES
    await asyncio.wait_for(living, WAIT)
    # What was left to compute, and a generous rest: nothing waits for a time to run out.
    assert time.monotonic() - began < PICTURES * TILES * TILE_SECONDS + 5
    for answer in answers:
        picture = Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0])))
        assert picture.size == (128, 128)
        assert len(picture.getcolors(1 << 16) or []) > 10
    assert not [each.name for each in set(threading.enumerate()) - threads if each.name == "device"]
