"""The whole serving half with a real tiny network: a picture is made again from nothing but its infotext."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from live_server import serving
from PIL import Image

from sd_runtime.health import Health
from sd_runtime.sampling import SAMPLERS
from sd_runtime.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT = 60.0
TXT2IMG = "/sdapi/v1/txt2img"
REQUEST = {"prompt": "a red cat", "width": 64, "height": 64, "steps": 4, "seed": 11}
ETA = {"eta_ancestral": 0.7, "eta_ddim": 0.8}
S_NOISE = {"s_noise": 1.3}
CHURN = {"s_churn": 2.0}
ENSD = {"eta_noise_seed_delta": 5}
#: Adaptive ones take as many evaluations as the last digits say.
NAMES = [info.name for info in SAMPLERS if not info.adaptive]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def users(checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Clients of a server of the tiny checkpoint."""
    root = tmp_path_factory.mktemp("bundle")
    folder = root / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    path = folder / "tiny.safetensors"
    path.write_bytes(checkpoint_file.read_bytes())
    settings = Settings(
        model_roots=(root,),
        checkpoint=path,
        auth="disabled",
        output_dir=root / "outputs",
        device="cpu",
    )
    async with serving(settings) as live:
        async with asyncio.timeout(WAIT):
            while live.services.state.health is not Health.READY:
                await asyncio.sleep(0.01)
        yield live.users


async def made(users: httpx.AsyncClient, body: dict[str, Any]) -> tuple[Any, str]:
    """The picture without what is written into its file, and its infotext."""
    own = {"override_settings": {"samples_save": False} | body.get("override_settings", {})}
    response = await users.post(TXT2IMG, json=body | own)
    assert response.status_code == 200, response.text
    answer = response.json()
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        pixels = np.asarray(image).astype(int)
    return pixels, json.loads(answer["info"])["infotexts"][0]


@pytest.mark.parametrize("sampler", NAMES)
@pytest.mark.parametrize(
    "options", [S_NOISE, ENSD, ETA, CHURN, S_NOISE | ENSD | ETA | CHURN], ids=lambda each: " ".join(each)
)
async def test_a_picture_is_made_again_from_its_infotext(
    users: httpx.AsyncClient, sampler: str, options: dict[str, float]
) -> None:
    asked = REQUEST | {"sampler_name": sampler, "override_settings": options}
    pixels, text = await made(users, asked)
    again, same_text = await made(users, {"infotext": text})
    assert pixels.std() > 1
    assert np.array_equal(again, pixels)
    assert same_text == text


@pytest.mark.parametrize("first", ["DPM++ 2M", "DDIM"])
async def test_what_only_the_second_pass_uses_is_told_too(users: httpx.AsyncClient, first: str) -> None:
    options = S_NOISE | ENSD | {"eta_ancestral": 0.7}
    second = {"enable_hr": True, "hr_scale": 1.0, "hr_sampler_name": "Euler a"}
    pixels, text = await made(users, REQUEST | second | {"sampler_name": first, "override_settings": options})
    again, _ = await made(users, {"infotext": text})
    assert np.array_equal(again, pixels)


@pytest.mark.parametrize("sampler", ["LCM", "DDIM", "DDIM CFG++", "DPM++ 2M", "LMS", "PLMS", "UniPC"])
async def test_s_noise_changes_no_picture_of_a_sampler_that_does_not_use_it(
    users: httpx.AsyncClient, sampler: str
) -> None:
    asked = REQUEST | {"sampler_name": sampler, "override_settings": ETA}
    plain, _ = await made(users, asked)
    given, text = await made(users, asked | S_NOISE)
    assert np.array_equal(given, plain)
    assert "Sigma noise" not in text
