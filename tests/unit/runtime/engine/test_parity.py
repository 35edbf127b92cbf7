"""From prompt to pixels, the engine paints what diffusers' own pipelines paint from the same networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_sdxl
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from engine_bench import picture, running
from transformers import CLIPTokenizer

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
    return StableDiffusionXLPipeline(
        **tiny_sdxl.base(),
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER_DIR),
        tokenizer_2=CLIPTokenizer.from_pretrained(TOKENIZER_DIR, pad_token="!"),
        scheduler=euler(),
        add_watermarker=False,
    )


@pytest.fixture(scope="module")
def sdxl_file(sdxl: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sdxl.single_file(sdxl.components, tmp_path_factory.mktemp("sdxl") / "sdxl.safetensors")


def test_sdxl_equals_the_stable_diffusion_xl_pipeline(sdxl: Any, sdxl_file: Path) -> None:
    theirs = painted_by_diffusers(sdxl, negative="ugly, blue")
    assert_equal_pictures(painted_by_engine(sdxl_file, negative="ugly, blue"), theirs)


def test_sdxl_takes_zeros_for_an_empty_negative_prompt(sdxl: Any, sdxl_file: Path) -> None:
    # diffusers does so when there is no negative prompt at all.
    theirs = painted_by_diffusers(sdxl, negative=None)
    assert_equal_pictures(painted_by_engine(sdxl_file, negative=""), theirs)
    assert np.abs(painted_by_diffusers(sdxl, negative="") - theirs).max() > 2
