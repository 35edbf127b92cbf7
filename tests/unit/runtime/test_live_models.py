"""What GET /v1/models says of a file is what a request that names it is told, with real tiny networks: usable
is served, and all else refused."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import small_files
from control_units import scripts
from live_server import Live, serving

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.health import Health
from sd_runtime.images import codec
from sd_runtime.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Of the tiny checkpoint's first block, and of its texts.
PROJ_IN, WIDTH = "lora_unet_down_blocks_0_attentions_0_proj_in", 64
VAE_OF_FLUX = {"encoder.conv_in.weight": [1, 3, 1, 1], "decoder.conv_in.weight": [1, 16, 1, 1]}
SDXL_TEXT = "lora_te1_text_model_encoder_layers_0_mlp_fc1"


PICTURE = base64.b64encode(codec.encode(np.zeros((64, 64, 3), np.uint8), "png", None)).decode()


def lora(module: str, **more: list[int]) -> bytes:
    shapes = {f"{module}.lora_down.weight": [1, 32, 1, 1], f"{module}.lora_up.weight": [32, 1, 1, 1]}
    return small_files.safetensors(shapes | {f"{module}.{part}": shape for part, shape in more.items()})


def hypernetwork(width: int) -> bytes:
    return small_files.safetensors(
        {
            f"{width}.{which}.linear.0.{part}": shape
            for which in (0, 1)
            for part, shape in (("weight", [width, width]), ("bias", [width]))
        }
    )


#: What lies below models/, and whether it can be used.
FILES = {
    "Lora/fitting.safetensors": (True, lora(PROJ_IN)),
    "Lora/of-sdxl.safetensors": (False, lora(SDXL_TEXT)),
    "Lora/dora.safetensors": (False, lora(PROJ_IN, dora_scale=[32])),
    "Lora/vae.safetensors": (False, small_files.of(ModelType.VAE)),
    "Lora/cut.safetensors": (False, lora(PROJ_IN)[:-1]),
    "Lora/pickle.pt": (False, b"x"),
    "hypernetworks/fitting.safetensors": (True, hypernetwork(WIDTH)),
    "hypernetworks/wide.safetensors": (False, hypernetwork(96)),
    "hypernetworks/broken.pt": (False, b"x"),
    "ControlNet/of-sdxl.safetensors": (False, small_files.controlnet(Family.SDXL)),
    "VAE/of-flux.safetensors": (
        False,
        small_files.safetensors(
            {"encoder.conv_in.weight": [1, 3, 1, 1], "decoder.conv_in.weight": [1, 16, 1, 1]}
        ),
    ),
    "VAE/lora.safetensors": (False, lora(PROJ_IN)),
    "Stable-diffusion/lora.safetensors": (False, lora(PROJ_IN)),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    """A server of the tiny checkpoint and these files."""
    root = tmp_path_factory.mktemp("bundle")
    path = root / "models" / "Stable-diffusion" / "tiny.safetensors"
    for name, content in {
        path.relative_to(root / "models"): checkpoint_file.read_bytes(),
        **{name: content for name, (_, content) in FILES.items()},
    }.items():
        (root / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "models" / name).write_bytes(content)
    settings = Settings(
        model_roots=(root,),
        checkpoint=path,
        auth="disabled",
        output_dir=root / "outputs",
        device="cpu",
    )
    async with serving(settings) as made:
        for _ in range(600):
            if made.services.state.health is Health.READY:
                break
            await asyncio.sleep(0.1)
        yield made


def naming(item: dict[str, Any]) -> dict[str, Any]:
    """The part of a request that names the model."""
    match item["type"]:
        case "Checkpoint":
            return {"override_settings": {"sd_model_checkpoint": item["name"]}}
        case "VAE":
            return {"override_settings": {"sd_vae": item["name"]}}
        case "ControlNet":
            return scripts({"module": "none", "model": item["name"], "image": PICTURE})
        case _:
            return {"prompt": f"a cat {item['insert']}"}


@pytest.mark.parametrize("file", FILES)
async def test_usable_is_what_a_request_is_served_with(live: Live, file: str) -> None:
    listed = (await live.users.get("/v1/models")).json()["models"]
    (item,) = (each for each in listed if each["file"] == f"models/{file}")
    assert (item["usable"], item["reason"] == "") == (FILES[file][0], FILES[file][0])
    request = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1, "save_images": False}
    answer = await live.users.post("/sdapi/v1/txt2img", json=request | naming(item), timeout=60)
    assert answer.status_code == (200 if item["usable"] else 422), answer.text[:500]
