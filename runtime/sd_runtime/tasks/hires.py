"""The second pass of hires fix: the first one's picture enlarged, and denoised again from part of the way.

As A1111 does it: latents are enlarged as they are, or the picture is decoded, enlarged and encoded again;
both are cut to the final size as latents. Device thread only.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sd_runtime.engine.work import (
    Decode,
    EncodeImage,
    Interrupted,
    Made,
    OnStep,
    Pixels,
    TaskRun,
    UseCheckpoint,
    Work,
)
from sd_runtime.models.network import Model
from sd_runtime.sampling import passes
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.tasks import enlarging, steering
from sd_runtime.tasks.canvas import Shown
from sd_runtime.tasks.denoising import Denoiser, Progress, plan_of, use_checkpoint
from sd_runtime.tasks.recipe import LATENT_STRIDE, Hires
from sd_runtime.tasks.steering import Steering
from sd_runtime.tasks.texts import Texts

if TYPE_CHECKING:
    from sd_runtime.tasks.txt2img import Txt2Img


@dataclass(slots=True, kw_only=True, eq=False)
class Begun:
    """What the first pass left: latents, a picture that stands for them, or both."""

    #: The checkpoint that goes on with it.
    model: Model
    #: Passes of the whole task.
    parts: int
    latents: torch.Tensor | None = None
    picture: Pixels | None = None
    embeddings: tuple[tuple[str, str], ...] = ()


def run(task: "Txt2Img", hires: Hires, begun: Begun, base: Model, on_step: OnStep) -> TaskRun:
    """Enlarge, denoise, decode; `base` draws where the second pass has no checkpoint of its own."""
    own = hires.checkpoint or base.loaded.path
    if hires.keep_first_pass:
        yield from _picture(task, begun)
    texts = Texts(hires.guided, after=task.guided)
    try:
        if hires.upscaler.is_plain and hires.upscaler.name in enlarging.LATENT:
            latents = yield from _enlarged_latents(task, hires, begun)
            begun.model = yield from use_checkpoint(begun.model, own, "hr_checkpoint_name")
        else:
            latents = yield from _enlarged_picture(task, hires, begun, own)
        size = hires.width, hires.height
        steered = yield from steering.second_pass(task.controls, size, vae=task.vae, tiling=task.tiling)
        denoiser, walk = _pass(task, hires, begun, texts, _cut(latents, hires), steered, on_step)
        latents = yield from denoiser.run(walk)
    except Interrupted:
        # The second pass has no estimate yet: what there is is the first one's picture.
        picture = yield from _picture(task, begun)
        return Made(picture, begun.embeddings, interrupted=True)
    picture = yield Decode(latents, task.vae, task.tiling)
    embeddings = tuple(dict.fromkeys((*begun.embeddings, *texts.embeddings)))
    first_pass = begun.picture if hires.keep_first_pass else None
    return Made(picture, embeddings, denoiser.interrupted, first_pass)


def _picture(task: "Txt2Img", begun: Begun) -> Generator[Work, Any, Pixels]:
    """The first pass's picture, decoded once."""
    if begun.picture is None:
        assert begun.latents is not None
        begun.picture = yield Decode(begun.latents, task.vae, task.tiling)
    return begun.picture


def _enlarged_latents(task: "Txt2Img", hires: Hires, begun: Begun) -> Generator[Work, Any, torch.Tensor]:
    if begun.latents is None:
        picture = yield from _picture(task, begun)
        # Latents have no size but whole ones.
        fitted = yield from enlarging.enlarge(picture, (task.width, task.height), None)
        begun.latents = yield EncodeImage(fitted, task.vae, task.tiling)
    width, height = (side // LATENT_STRIDE for side in hires.upscale_to)
    return enlarging.enlarge_latents(begun.latents, (width, height), hires.upscaler.name)


def _enlarged_picture(
    task: "Txt2Img", hires: Hires, begun: Begun, own: Path
) -> Generator[Work, Any, torch.Tensor]:
    picture = yield from _picture(task, begun)
    width, height = (side // LATENT_STRIDE * LATENT_STRIDE for side in hires.upscale_to)
    enlarged = yield from enlarging.enlarge(picture, (width, height), hires.upscaler)
    if begun.model.loaded.path != own:
        # A picture means the same to every checkpoint, whatever its latents are.
        begun.model = yield UseCheckpoint(own)
    latents: torch.Tensor = yield EncodeImage(enlarged, task.vae, task.tiling)
    return latents


def _cut(latents: torch.Tensor, hires: Hires) -> torch.Tensor:
    """The middle of the latents, at the final size."""
    height, width = hires.height // LATENT_STRIDE, hires.width // LATENT_STRIDE
    top, left = (latents.shape[2] - height) // 2, (latents.shape[3] - width) // 2
    return latents[:, :, top : top + height, left : left + width]


def _pass(
    task: "Txt2Img",
    hires: Hires,
    begun: Begun,
    texts: Texts,
    latents: torch.Tensor,
    steered: tuple[Steering, ...],
    on_step: OnStep,
) -> tuple[Denoiser, passes.Walk]:
    """All steps that were asked for lie behind the strength's share of the way (A1111's)."""
    model, strength = begun.model, hires.denoising_strength
    plan = plan_of(hires.guided, model)
    steps = passes.step_count(plan, model.discrete, strength, exact_steps=True)
    progress = Progress(on_step, steps, begun.parts - 1, begun.parts)
    shown = Shown.nothing(hires.width, hires.height)
    shape = model.latent_shape(width=hires.width, height=hires.height)
    noise = ImageNoise(task.noise, shape, model.device.handle, model.latent_stride)
    denoiser = Denoiser(
        model,
        hires.guided,
        texts,
        progress,
        shown,
        noise,
        vae=task.vae,
        tiling=task.tiling,
        steering=steered,
    )
    walk = passes.from_latents(
        plan, model.discrete, noise, latents, strength, denoiser.step_done, exact_steps=True
    )
    return denoiser, walk
