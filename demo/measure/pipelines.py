"""The shipped files in plain diffusers pipelines, offline, and pictures made with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
)
from spandrel import ModelLoader

from demo.export import configs
from demo.train import pictures
from demo.train.base import Model
from demo.train.vocabulary import Vocabulary

MODELS = Path(__file__).parents[1] / "models"
BATCH = 64
SAMPLERS: dict[str, Any] = {
    "Euler": EulerDiscreteScheduler,
    "Euler a": EulerAncestralDiscreteScheduler,
    "DPM++ 2M": DPMSolverMultistepScheduler,
    "Heun": HeunDiscreteScheduler,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are made; the defaults are the ones the demo uses."""

    sampler: str = "Euler"
    steps: int = 20
    cfg: float = 3.0
    width: int = 64
    height: int = 64
    first_seed: int = 0

    def but(self, **changes: Any) -> Settings:
        return replace(self, **changes)


DEFAULT = Settings()


def checkpoint(name: str = "demo-sd15", *, models: Path = MODELS) -> StableDiffusionPipeline:
    """A checkpoint's single file as diffusers reads it."""
    return _quiet(
        StableDiffusionPipeline.from_single_file(
            str(models / name / f"{name}.safetensors"),
            config=str(models / name / "config"),
            local_files_only=True,
            torch_dtype=torch.float32,
        )
    )


def of_training(model: Model, vocabulary: Vocabulary, coder: AutoencoderKL) -> StableDiffusionPipeline:
    """The trained networks themselves, in full precision, without any file of weights between."""
    table = model.text_encoder.get_input_embeddings().weight.detach()
    rows = vocabulary.expand(table)
    whole = torch.nn.Embedding(len(rows), rows.shape[1], _weight=rows)
    model.text_encoder.set_input_embeddings(whole)
    return _quiet(
        StableDiffusionPipeline(
            vae=coder,
            text_encoder=model.text_encoder,
            tokenizer=vocabulary.tokenizer,
            unet=model.unet,
            scheduler=PNDMScheduler.from_config(configs.SCHEDULER),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def with_controlnet(
    pipeline: StableDiffusionPipeline, *, models: Path = MODELS
) -> StableDiffusionControlNetPipeline:
    """The same pipeline, steered by the Canny ControlNet's single file."""
    network = ControlNetModel.from_single_file(
        str(models / "demo-canny/demo-canny.safetensors"),
        config=str(models / "demo-canny/config"),
        local_files_only=True,
        torch_dtype=torch.float32,
    )
    return _quiet(StableDiffusionControlNetPipeline(**pipeline.components, controlnet=network))


def separate_vae(*, models: Path = MODELS) -> AutoencoderKL:
    """The VAE that is a file of its own."""
    return AutoencoderKL.from_single_file(
        str(models / "demo-vae/demo-vae.safetensors"),
        config=str(models / "demo-sd15/config"),
        subfolder="vae",
        local_files_only=True,
        torch_dtype=torch.float32,
    )


@torch.no_grad()
def upscale(file: Path, pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pictures (count, 3, height, width) four times as large, by an upscaler's file in spandrel."""
    model = ModelLoader(device="cpu").load_from_file(file)
    made = torch.cat([model(part / 255) for part in torch.split(pixels.float(), 4)])
    return (made.clamp(0, 1) * 255).round().to(torch.uint8)


@torch.no_grad()
def generate(
    pipeline: Any,
    prompts: Sequence[str],
    settings: Settings = DEFAULT,
    *,
    hints: torch.Tensor | None = None,
    **more: Any,
) -> torch.Tensor:
    """uint8 pictures (prompts, 3, height, width); the seeds follow each other.

    `hints` are control maps (prompts, height, width) for a ControlNet.
    """
    pipeline.scheduler = SAMPLERS[settings.sampler].from_config(pipeline.scheduler.config)
    made = []
    size = max(1, BATCH * 64 * 64 // (settings.width * settings.height))
    for start in range(0, len(prompts), size):
        part = list(prompts[start : start + size])
        extra = dict(more)
        if hints is not None:
            extra["image"] = hints[start : start + size, None].expand(-1, 3, -1, -1).float()
        output = pipeline(
            prompt=part,
            num_inference_steps=settings.steps,
            guidance_scale=settings.cfg,
            width=settings.width,
            height=settings.height,
            generator=[
                torch.Generator().manual_seed(settings.first_seed + start + row) for row in range(len(part))
            ],
            output_type="pt",
            **extra,
        )
        made.append(pictures.to_pixels(output.images * 2 - 1))
    return torch.cat(made)


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
