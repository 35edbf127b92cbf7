"""Configurations derived from real Stable Diffusion 1.5 shapes, taken from networks built without memory."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from demo.export import ldm_keys
from sd_modelfiles.family import share_latents
from sd_runtime.errors import CheckpointError
from sd_runtime.models import blueprint, layout

SD15 = layout.Conventions(unet_heads=8, unet_head_width=None, latent_scale=0.18215)
SD15_UNET = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD15_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
SD15_TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}


def shapes_below(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(prefix): tuple(value.shape) for name, value in weights.items()}


def unet_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = UNet2DConditionModel(**config)
    return shapes_below("model.diffusion_model.", ldm_keys.unet(network.state_dict()))


def same_weights(ours: Any, theirs: Any) -> bool:
    def shapes(network: Any) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in network.state_dict().items()}

    return shapes(ours) == shapes(theirs)


def test_the_unet_of_stable_diffusion_is_recognised() -> None:
    config = layout.unet_config(unet_shapes(SD15_UNET), SD15)
    assert {key: config[key] for key in SD15_UNET} == {**SD15_UNET, "attention_head_dim": (8, 8, 8, 8)}
    with torch.device("meta"):
        assert same_weights(UNet2DConditionModel(**config), UNet2DConditionModel(**SD15_UNET))


def test_attention_of_several_blocks_and_linear_projections_are_recognised() -> None:
    wanted = {
        "block_out_channels": (32, 64, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 2, 3),
        "use_linear_projection": True,
        "cross_attention_dim": 96,
    }
    config = layout.unet_config(unet_shapes({**wanted, "attention_head_dim": 8}), SD15)
    assert {key: config[key] for key in wanted} == wanted


def test_the_vae_of_stable_diffusion_is_recognised() -> None:
    with torch.device("meta"):
        network = AutoencoderKL(**SD15_VAE)
    config = layout.vae_config(shapes_below("first_stage_model.", ldm_keys.vae(network.state_dict())), SD15)
    assert {key: config[key] for key in SD15_VAE} == SD15_VAE
    assert config["scaling_factor"] == 0.18215


def test_the_text_encoder_of_stable_diffusion_is_recognised() -> None:
    with torch.device("meta"):
        network = CLIPTextModel(CLIPTextConfig(**SD15_TEXT))
    prefix = "cond_stage_model.transformer.text_model."
    config = layout.clip_config(shapes_below(prefix, ldm_keys.text(network.state_dict())), SD15)
    assert {key: config[key] for key in SD15_TEXT} == SD15_TEXT
    assert (config["bos_token_id"], config["eos_token_id"]) == (49406, 49407)


def test_a_text_encoder_whose_width_does_not_fill_heads_is_refused() -> None:
    shapes = {
        "embeddings.token_embedding.weight": (49408, 100),
        "embeddings.position_embedding.weight": (77, 100),
        "encoder.layers.0.mlp.fc1.weight": (400, 100),
    }
    with pytest.raises(CheckpointError, match="width of 100 is not a multiple of 64"):
        layout.clip_config(shapes, SD15)


@pytest.mark.parametrize("name", ["input_blocks.0.0.weight", "out.2.weight", "middle_block.1.proj_in.weight"])
def test_a_tensor_that_the_configuration_needs_is_named_when_missing(name: str) -> None:
    shapes = unet_shapes({**SD15_UNET, "block_out_channels": (32, 32, 32, 32)})
    del shapes[name]
    with pytest.raises(CheckpointError, match=f"'{name}' is missing"):
        layout.unet_config(shapes, SD15)


def test_families_share_latents_where_they_are_scaled_alike() -> None:
    for one, other in itertools.product(blueprint.CONVENTIONS, repeat=2):
        scales = {blueprint.CONVENTIONS[each].latent_scale for each in (one, other)}
        assert share_latents(one, other) is (len(scales) == 1)
