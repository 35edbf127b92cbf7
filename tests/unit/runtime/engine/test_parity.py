"""From prompt to pixels, the engine paints what diffusers' own pipelines paint from the same networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from engine_bench import picture, running
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from demo.export import ldm_keys
from sd_runtime.models.checkpoint import TOKENIZER_DIR

# diffusers 0.42 hands torch tensors to numpy 2 in a way numpy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# Four steps of linspace(0, 999) hit whole timesteps, where every way of interpolating agrees.
STEPS = 4
GUIDANCE = 4.0
SEED = 11
PROMPT = "a large red circle on a white background"


def painted_by_engine(path: Path, *, negative: str) -> np.ndarray[Any, Any]:
    task = picture(
        prompt=PROMPT,
        negative_prompt=negative,
        width=96,
        height=64,
        steps=STEPS,
        cfg_scale=GUIDANCE,
        sampler="Euler",
        scheduler="uniform",
        seed=SEED,
    )
    with running(path) as bench:
        return bench.alone(task)


def painted_by_diffusers(pipeline: Any, *, negative: str | None) -> np.ndarray[Any, Any]:
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline(
        PROMPT,
        negative_prompt=negative,
        width=96,
        height=64,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        latents=torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(SEED)),
        output_type="np",
    ).images[0]
    result: np.ndarray[Any, Any] = (picture * 255).round().astype(int)
    return result


def euler() -> Any:
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="linspace",
        steps_offset=1,
    )


def assert_equal_pictures(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    assert ours.std() > 10
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_sd15_equals_the_stable_diffusion_pipeline(
    networks: tuple[Any, Any, Any], checkpoint_file: Path
) -> None:
    unet, vae, text = networks
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER_DIR),
        scheduler=euler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    theirs = painted_by_diffusers(pipeline, negative="ugly, blue")
    assert_equal_pictures(painted_by_engine(checkpoint_file, negative="ugly, blue"), theirs)


@pytest.fixture(scope="module")
def sdxl() -> Any:
    """A tiny SDXL: two text encoders, attention on the lower level only (two blocks), conditioned on size."""

    def clip(width: int, **more: Any) -> Any:
        return CLIPTextConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=3,
            num_attention_heads=width // 64,
            projection_dim=width,
            initializer_range=0.5,
            bos_token_id=49406,
            eos_token_id=49407,
            **more,
        )

    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=64 + 128,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=128 + 6 * 256,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.13025,
    )
    with torch.no_grad():
        unet.conv_out.weight.mul_(30)
        vae.decoder.conv_out.weight.mul_(10)
    return StableDiffusionXLPipeline(
        unet=unet.eval(),
        vae=vae.eval(),
        text_encoder=CLIPTextModel(clip(64, hidden_act="quick_gelu")).eval(),
        text_encoder_2=CLIPTextModelWithProjection(clip(128, hidden_act="gelu")).eval(),
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER_DIR),
        tokenizer_2=CLIPTokenizer.from_pretrained(TOKENIZER_DIR, pad_token="!"),
        scheduler=euler(),
        add_watermarker=False,
    )


def open_clip_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' names of a text model with projection, as OpenCLIP has them: q, k and v in one."""
    simple = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    result = {simple[name]: value for name, value in weights.items() if name in simple}
    result["text_projection"] = weights["text_projection.weight"].T
    result["logit_scale"] = torch.tensor(4.6)
    for layer in range(3):
        theirs, ours = f"text_model.encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{theirs}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            result[f"{ours}.attn.in_proj_{kind}"] = torch.cat(parts)
            for old, new in (
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                result[f"{ours}.{new}.{kind}"] = weights[f"{theirs}.{old}.{kind}"]
    return result


@pytest.fixture(scope="module")
def sdxl_file(sdxl: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unet = sdxl.unet.state_dict()
    size = {
        f"model.diffusion_model.label_emb.0.{place}.{kind}": unet.pop(f"add_embedding.linear_{number}.{kind}")
        for place, number in ((0, 1), (2, 2))
        for kind in ("weight", "bias")
    }
    first = {f"text_model.{name}": value for name, value in sdxl.text_encoder.state_dict().items()}
    second = open_clip_names(sdxl.text_encoder_2.state_dict())
    weights = {
        **ldm_keys.unet(unet),
        **size,
        **ldm_keys.vae(sdxl.vae.state_dict()),
        **{f"conditioner.embedders.0.transformer.{name}": value for name, value in first.items()},
        **{f"conditioner.embedders.1.model.{name}": value for name, value in second.items()},
    }
    path = tmp_path_factory.mktemp("sdxl") / "sdxl.safetensors"
    save_file({name: value.detach().clone().contiguous() for name, value in weights.items()}, path)
    return path


def test_sdxl_equals_the_stable_diffusion_xl_pipeline(sdxl: Any, sdxl_file: Path) -> None:
    theirs = painted_by_diffusers(sdxl, negative="ugly, blue")
    assert_equal_pictures(painted_by_engine(sdxl_file, negative="ugly, blue"), theirs)


def test_sdxl_takes_zeros_for_an_empty_negative_prompt(sdxl: Any, sdxl_file: Path) -> None:
    # diffusers does so when there is no negative prompt at all.
    theirs = painted_by_diffusers(sdxl, negative=None)
    assert_equal_pictures(painted_by_engine(sdxl_file, negative=""), theirs)
    assert np.abs(painted_by_diffusers(sdxl, negative="") - theirs).max() > 2
