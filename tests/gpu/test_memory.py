"""Memory that runs out for real: a card of four gigabytes, by a process that holds all the rest."""

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.pictures import rig
from sd_runtime.errors import GenerationError
from tests.gpu.drawing import engine_of, pictures_by

GIB = 2**30
HOLDER = """
import sys, torch
free, total = torch.cuda.mem_get_info()
held = torch.empty(free - int(sys.argv[1]), dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def all_but(size: int) -> Iterator[None]:
    """While it lasts, no more than `size` bytes of the device's memory are there."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.stdin.close()


@pytest.fixture
def four_gigabytes() -> Iterator[None]:
    torch.cuda.empty_cache()
    with all_but(4 * GIB):
        yield


@pytest.mark.usefixtures("four_gigabytes")
def test_a_card_of_four_gigabytes_serves_a_full_size_checkpoint(full_size: Path) -> None:
    with engine_of(full_size, max_batch=16) as engine:
        ordinary = rig.picture(size=512, steps=4)
        first = pictures_by(engine, [ordinary])
        assert first.shape == (1, 512, 512, 3)
        # More at once than fit into one call, with LoRAs of their own.
        loras = sorted((full_size / "models/Lora").iterdir())
        many = [rig.picture(size=512, steps=3, seed=n, loras=loras[n % 2 :][:1]) for n in range(16)]
        assert pictures_by(engine, many).shape == (16, 512, 512, 3)
        assert pictures_by(engine, [rig.picture(size=1024, steps=2)]).shape == (1, 1024, 1024, 3)
        # What was refused room has taught caution, and nothing else.
        assert np.array_equal(pictures_by(engine, [ordinary]), first)


@pytest.mark.usefixtures("four_gigabytes")
def test_what_is_too_large_for_the_card_fails_alone_and_in_words(full_size: Path) -> None:
    with engine_of(full_size, max_batch=16) as engine:
        large = engine.submit(rig.picture(size=4096, steps=1))
        small = [engine.submit(rig.picture(size=512, steps=2, seed=seed)) for seed in range(3)]
        for ticket in small:
            assert ticket.future.result(600).pixels.shape == (512, 512, 3)
        with pytest.raises(GenerationError, match="memory is too small"):
            large.future.result(600)


@pytest.mark.usefixtures("four_gigabytes")
def test_a_person_with_such_a_card_gets_pictures_by_the_readmes_command(
    full_size: Path, tmp_path: Path
) -> None:
    with workstation(full_size, tmp_path) as address:
        body = {"prompt": "a cat", "width": 512, "height": 512, "steps": 3, "seed": 1}
        sizes = {
            (512, 512): body | {"batch_size": 4},
            (1024, 1024): body
            | {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7},
        }
        for size, request in sizes.items():
            answer = httpx.post(f"{address}/sdapi/v1/txt2img", json=request, timeout=600)
            assert answer.status_code == 200, answer.text
            for picture in answer.json()["images"]:
                assert Image.open(io.BytesIO(base64.b64decode(picture))).size == size
        memory = httpx.get(f"{address}/sdapi/v1/memory").json()
        assert memory["cuda"]["system"]["total"] > 2**30
        assert {"active", "inactive"} <= set(memory["cuda"])


@contextmanager
def workstation(models: Path, folder: Path) -> Iterator[str]:
    """`sd-runtime --models-dir`, and where it answers."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    log = folder / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "sd_runtime", "--models-dir", str(models), "--port", str(port)],
            cwd=folder,
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while "ready" not in log.read_text():
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        assert server.wait(120) == 0, log.read_text()[-4000:]
