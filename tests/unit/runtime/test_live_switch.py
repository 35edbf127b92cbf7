"""The whole serving half with real tiny networks: the checkpoint changes while requests run."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from live_server import serving
from PIL import Image
from safetensors.torch import load_file, save_file

from sd_runtime.metrics import Metrics
from sd_runtime.settings import Settings

WAIT = 60.0
REQUEST = {"prompt": "a red cat", "width": 64, "height": 64, "steps": 6, "seed": 1}
LAST_LAYER = "cond_stage_model.transformer.text_model.encoder.layers.2."
LAST_BIAS = "model.diffusion_model.out.2.bias"
LAST_WEIGHT = "model.diffusion_model.out.2.weight"


async def hasty_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / 100)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def bundle(checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with three checkpoints: `three` text layers; `two` text layers and other weights; and one with
    weights that are not numbers."""
    root = tmp_path_factory.mktemp("bundle")
    folder = root / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    (folder / "three.safetensors").write_bytes(checkpoint_file.read_bytes())
    weights = load_file(checkpoint_file)
    fewer = {name: value for name, value in weights.items() if not name.startswith(LAST_LAYER)}
    save_file(fewer | {LAST_WEIGHT: -fewer[LAST_WEIGHT]}, folder / "two.safetensors")
    broken = torch.full_like(weights[LAST_BIAS], float("nan"))
    save_file(weights | {LAST_BIAS: broken}, folder / "nan.safetensors")
    return root


@dataclass
class Server:
    """Both doors, and what the operator and users do at them."""

    users: httpx.AsyncClient
    operator: httpx.AsyncClient
    bundle: Path
    metrics: Metrics

    async def wish(self, name: str, *, sha256: str | None = None) -> httpx.Response:
        path = self.bundle / "models" / "Stable-diffusion" / f"{name}.safetensors"
        checkpoint = {"path": str(path), "sha256": sha256 or sha256_of(path)}
        body = {"generation": 1, "revision": name, "checkpoint": checkpoint}
        return await self.operator.put("/v1/desired", json=body)

    async def state(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.operator.get("/v1/state")).json()
        return told

    async def settled(self) -> dict[str, Any]:
        """The state when the last wish is in effect or has failed."""
        async with asyncio.timeout(WAIT):
            while True:
                told = await self.state()
                if told["desired"]["inEffect"] or told["desired"]["error"]:
                    return told
                await asyncio.sleep(0.01)

    async def picture(self, **changes: Any) -> tuple[str, bytes]:
        """The name of the model that made it, and its pixels."""
        response = await self.users.post("/sdapi/v1/txt2img", json=REQUEST | changes)
        assert response.status_code == 200, response.text
        answer = response.json()
        with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
            return json.loads(answer["info"])["sd_model_name"], np.asarray(image).tobytes()


@pytest.fixture
async def server(bundle: Path, tmp_path: Path) -> AsyncIterator[Server]:
    """Serves `three`, warmed up."""
    path = bundle / "models" / "Stable-diffusion" / "three.safetensors"
    desired = {"revision": "first", "checkpoint": {"path": str(path), "sha256": sha256_of(path)}}
    (tmp_path / "desired.json").write_text(json.dumps(desired))
    settings = Settings(
        model_roots=(bundle,),
        desired_file=tmp_path / "desired.json",
        auth="disabled",
        output_dir=tmp_path / "outputs",
        device="cpu",
    )
    async with serving(settings, sleep=hasty_sleep) as live:
        made = Server(live.users, live.operator, bundle, live.services.metrics)
        assert (await made.settled())["health"] == "Ready"
        yield made


async def test_under_requests_that_never_cease_no_picture_is_lost_and_each_is_of_the_model_it_names(
    server: Server,
) -> None:
    alone = dict([await server.picture()])
    assert (await server.wish("two")).status_code == 202
    await server.settled()
    alone |= dict([await server.picture()])
    assert len(set(alone.values())) == 2
    made: list[tuple[str, bytes]] = []
    going_on = True

    async def keep_asking() -> None:
        while going_on:
            made.append(await server.picture())

    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_asking())
        for name in ("three", "two", "three"):
            seen = len(made)
            await server.wish(name)
            while len(made) < seen + 8:
                assert (await server.operator.get("/readyz")).status_code == 200
                await asyncio.sleep(0.01)
            assert (await server.settled())["desired"]["inEffect"]
        going_on = False
    assert {name for name, _ in made} == {"two", "three"}
    for name, pixels in made:
        difference = np.frombuffer(pixels, np.uint8).astype(int) - np.frombuffer(alone[name], np.uint8)
        assert np.abs(difference).max() <= 2
    registry = server.metrics.registry
    assert registry.get_sample_value("sd_checkpoint_switches_total", {"result": "done"}) == 4


async def test_a_checkpoint_whose_weights_are_no_numbers_fails_its_warm_up_and_the_old_one_serves_on(
    server: Server,
) -> None:
    before = await server.picture()
    await server.wish("nan")
    told = await server.settled()
    assert told["desired"]["error"].startswith("the warm-up picture failed: ")
    assert (told["health"], told["desired"]["inEffect"]) == ("Ready", False)
    assert told["checkpoint"]["path"].endswith("three.safetensors")
    assert await server.picture() == before


async def test_bytes_with_another_digest_than_the_wished_are_not_served(server: Server) -> None:
    await server.wish("two", sha256="0" * 64)
    told = await server.settled()
    assert "0000 is wanted" in told["desired"]["error"]
    assert (await server.picture())[0] == "three"


async def test_after_a_volume_was_away_for_a_while_the_wish_comes_true_by_itself(
    server: Server, tmp_path: Path
) -> None:
    folder = server.bundle / "models" / "Stable-diffusion"
    two, three = folder / "two.safetensors", folder / "three.safetensors"
    good = two.rename(tmp_path / "two"), three.rename(tmp_path / "three")
    try:
        two.write_bytes((folder / "nan.safetensors").read_bytes())
        await server.wish("two", sha256=sha256_of(good[0]))
        told = await server.settled()
        while told["health"] != "LoadFailed":
            told = await server.state()
            await asyncio.sleep(0.01)
        assert "is wanted; and the checkpoint before it could not be loaded again" in told["error"]
    finally:
        good[0].replace(two)
        good[1].replace(three)
    async with asyncio.timeout(WAIT):
        while (told := await server.state())["health"] != "Ready":
            await asyncio.sleep(0.01)
    assert (told["desired"]["inEffect"], told["desired"]["error"]) == (True, None)
    assert (await server.picture())[0] == "two"


async def test_while_the_old_one_serves_a_file_that_comes_late_is_served_by_itself(
    server: Server, tmp_path: Path
) -> None:
    two = server.bundle / "models" / "Stable-diffusion" / "two.safetensors"
    good = two.rename(tmp_path / "two")
    try:
        await server.wish("two", sha256=sha256_of(good))
        told = await server.settled()
        assert (told["health"], "cannot be read: No such file" in told["desired"]["error"]) == ("Ready", True)
        assert (await server.picture())[0] == "three"
    finally:
        good.replace(two)
    async with asyncio.timeout(WAIT):
        while not (told := await server.state())["desired"]["inEffect"]:
            assert told["health"] == "Ready"
            await asyncio.sleep(0.01)
    assert (await server.picture())[0] == "two"


async def test_a_request_that_the_new_checkpoint_cannot_serve_fails_alone_and_says_why(
    server: Server,
) -> None:
    long = asyncio.create_task(server.picture(steps=100))
    while (await server.users.get("/sdapi/v1/progress")).json()["state"]["sampling_step"] == 0:
        await asyncio.sleep(0.001)
    assert (await server.wish("two")).status_code == 202
    deep = REQUEST | {"override_settings": {"CLIP_stop_at_last_layers": 3}}
    refused, good = await asyncio.gather(server.users.post("/sdapi/v1/txt2img", json=deep), server.picture())
    assert (await long)[0] == "three"
    assert refused.status_code == 422
    assert "CLIP_stop_at_last_layers: 3 is not supported; allowed: 1 to 2" in refused.json()["detail"]
    assert good[0] == "two"


async def test_the_times_of_the_first_load_stay_those_of_the_first(server: Server) -> None:
    startup = (await server.state())["startup"]
    assert startup["loadSeconds"] > 0
    assert startup["warmUpSeconds"] > 0
    await server.wish("two")
    assert (await server.settled())["startup"] == startup
