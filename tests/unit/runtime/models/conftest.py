"""Tiny models of the other families and layouts, with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_sdxl
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from demo.export import ldm_keys

Networks = dict[str, Any]
WriteFolder = Callable[..., Path]


def clip_config(width: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=width // 64,
        projection_dim=width,
        hidden_act=activation,
        initializer_range=0.5,
        bos_token_id=49406,
        eos_token_id=49407,
    )


def unet(context: int) -> Any:
    torch.manual_seed(2)
    return UNet2DConditionModel(
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=context,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
    ).eval()


def vae() -> Any:
    torch.manual_seed(3)
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
    ).eval()


@pytest.fixture(scope="session")
def sd21() -> Networks:
    """Stable Diffusion 2: one text encoder, OpenCLIP's."""
    torch.manual_seed(4)
    text = CLIPTextModelWithProjection(clip_config(128, "gelu")).eval()
    return {"unet": unet(128), "vae": vae(), "text_encoder": text}


@pytest.fixture(scope="session")
def sdxl() -> Networks:
    """SDXL: both text encoders, and sizes beside the time."""
    return tiny_sdxl.base()


@pytest.fixture(scope="session")
def refiner() -> Networks:
    """Its refiner: the second text encoder, and sizes and a score beside the time."""
    return tiny_sdxl.refiner()


@pytest.fixture(scope="session")
def sd21_weights(sd21: Networks) -> dict[str, torch.Tensor]:
    """Its tensors with the names of a single file."""
    text = tiny_sdxl.open_clip_names(sd21["text_encoder"].state_dict())
    weights = {
        **ldm_keys.unet(sd21["unet"].state_dict()),
        **ldm_keys.vae(sd21["vae"].state_dict()),
        **{f"cond_stage_model.model.{name}": value for name, value in text.items()},
    }
    return {name: value.detach().clone().contiguous() for name, value in weights.items()}


@pytest.fixture(scope="session")
def sd21_file(sd21_weights: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd21") / "sd21.safetensors"
    save_file(sd21_weights, path)
    return path


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Writes networks as diffusers does, with what the scheduler's configuration shall say."""

    def write(networks: Networks, schedule: dict[str, object] | None = None, **saving: Any) -> Path:
        folder = tmp_path / "in-parts"
        for name, network in networks.items():
            network.save_pretrained(folder / name, **saving)
        if schedule is not None:
            (folder / "scheduler").mkdir()
            (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule))
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
        return folder

    return write
