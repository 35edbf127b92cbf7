"""The whole serving half with real tiny networks and the modules that keep a picture's colours: what their
names and numbers in a request do. The ControlNet says nothing, so whatever changes is theirs."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from control_units import scripts
from fake_plugins import FakePlugins
from live_server import serving
from PIL import Image

from sd_runtime.health import Health
from sd_runtime.images.codec import encode
from sd_runtime.plugins import Module, ModuleState, Parameter, RunResult
from sd_runtime.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT = 60.0
REQUEST = {
    "prompt": "a red cat",
    "negative_prompt": "a dog",
    "width": 64,
    "height": 64,
    "steps": 4,
    "override_settings": {"samples_save": False},
}
VARIATION = Parameter(
    name="variation", label="Variation", type="number", default=8, minimum=3, maximum=32, step=1
)
SHARPNESS = Parameter(
    name="sharpness", label="Sharpness", type="number", default=1, minimum=0, maximum=2, step=0.01
)


class TilePlugins(FakePlugins):
    """As controlnet-basic has them: their map is the picture as it is."""

    TILE = (
        ModuleState(name="tile_resample", label="tile_resample"),
        ModuleState(name="tile_colorfix", label="tile_colorfix", parameters=(VARIATION,)),
        ModuleState(
            name="tile_colorfix+sharp", label="tile_colorfix+sharp", parameters=(VARIATION, SHARPNESS)
        ),
    )

    def modules(self, kind: str) -> Mapping[str, Module]:
        return {each.name: Module("basic", each) for each in self.TILE}

    def run(self, module: Module, image: Any, *_: Any, **__: Any) -> RunResult:
        return RunResult(image, {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def users(
    checkpoint_file: Path, networks: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """Clients of a server of the tiny checkpoint, with an untrained ControlNet."""
    from diffusers import ControlNetModel
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("bundle")
    for name in ("Stable-diffusion", "ControlNet"):
        (root / "models" / name).mkdir(parents=True)
    path = root / "models" / "Stable-diffusion" / "tiny.safetensors"
    path.write_bytes(checkpoint_file.read_bytes())
    weights = ControlNetModel.from_unet(networks[0]).state_dict()
    silent = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    save_file(silent, root / "models" / "ControlNet" / "tiny_tile.safetensors")
    settings = Settings(
        model_roots=(root,), checkpoint=path, auth="disabled", output_dir=root / "outputs", device="cpu"
    )
    async with serving(settings) as live:
        live.services.plugins = TilePlugins()
        async with asyncio.timeout(WAIT):
            while live.services.state.health is not Health.READY:
                await asyncio.sleep(0.01)
        yield live.users


def photograph() -> str:
    """Dark on the left and light on the right."""
    across = np.linspace(0, 255, 64).astype(np.uint8)
    pixels = np.broadcast_to(across[None, :, None], (64, 64, 3)).copy()
    return base64.b64encode(encode(pixels, "png", None)).decode()


def unit(module: str, **fields: Any) -> dict[str, Any]:
    own = {"model": "tiny_tile", "image": photograph(), "save_detected_map": False}
    return {"module": module} | own | fields


async def picture(users: httpx.AsyncClient, *units: Any, seed: int = 11, **body: Any) -> Any:
    response = await users.post(
        "/sdapi/v1/txt2img", json=REQUEST | {"seed": seed} | body | (scripts(*units) if units else {})
    )
    assert response.status_code == 200, response.text
    (text,) = response.json()["images"]
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    ("own", "changes"),
    [
        (unit("tile_colorfix"), True),
        (unit("tile_colorfix+sharp"), True),
        (unit("tile_colorfix", weight=0), False),
        (unit("tile_colorfix", guidance_start=0.9), True),
        (unit("tile_resample"), False),
        (unit("none", threshold_a=8), False),
    ],
    ids=["colours", "sharp", "no weight", "part of a step", "another module", "no module"],
)
async def test_colours_are_kept_by_these_modules_where_they_take_part(
    users: httpx.AsyncClient, own: dict[str, Any], *, changes: bool
) -> None:
    plain, made = await picture(users), await picture(users, own)
    assert np.array_equal(plain, made) is not changes


async def test_more_weight_changes_more_up_to_one(users: httpx.AsyncClient) -> None:
    plain = await picture(users)
    made = [await picture(users, unit("tile_colorfix", weight=weight)) for weight in (0.3, 1, 1.6)]
    changed = [float(np.abs(each - plain).mean()) for each in made]
    assert 0 < changed[0] < changed[1]
    assert np.array_equal(made[1], made[2])


@pytest.mark.parametrize(
    ("module", "one", "other", "differs"),
    [
        ("tile_colorfix", {"threshold_a": 3}, {"threshold_a": 16}, True),
        ("tile_colorfix", {"threshold_a": 8}, {"threshold_a": -1}, False),
        ("tile_colorfix", {"threshold_b": 0}, {"threshold_b": 2}, False),
        ("tile_colorfix+sharp", {"threshold_b": 0}, {"threshold_b": 2}, True),
        ("tile_colorfix+sharp", {"threshold_b": 1}, {"threshold_b": -1}, False),
    ],
)
async def test_thresholds_are_variation_and_sharpness(
    users: httpx.AsyncClient, module: str, one: dict[str, float], other: dict[str, float], *, differs: bool
) -> None:
    made = [await picture(users, unit(module, **numbers)) for numbers in (one, other)]
    assert np.array_equal(*made) is not differs


async def test_sharp_without_sharpness_is_the_other_module(users: httpx.AsyncClient) -> None:
    sharp = await picture(users, unit("tile_colorfix+sharp", threshold_b=0))
    assert np.array_equal(sharp, await picture(users, unit("tile_colorfix")))


async def test_neighbours_in_a_batch_have_their_own(users: httpx.AsyncClient) -> None:
    own = unit("tile_colorfix")
    alone = [await picture(users), await picture(users, own)]
    together = await asyncio.gather(picture(users), picture(users, own))
    assert all(np.abs(one - other).max() <= 1 for one, other in zip(alone, together, strict=True))
