"""A picture from a picture, or a part of it drawn anew (inpainting).

Knows nothing of HTTP, batches or devices: it yields work and is sent the answers. Importing it does not
import torch.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sd_runtime.engine.work import Decode, EncodeImage, Host, Made, OnStep, Pixels, TaskRun, Work
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import codec, colours, resizing
from sd_runtime.images.resizing import Size
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks import enlarging, inpainting, recipe, steering
from sd_runtime.tasks.control import Control
from sd_runtime.tasks.inpainting import Masked
from sd_runtime.tasks.recipe import LATENT_STRIDE, Guided, Mask, MaskedContent, ResizeMode, Upscaler
from sd_runtime.tasks.steering import Frame, Steering
from sd_runtime.tasks.texts import Texts

if TYPE_CHECKING:
    import torch

    from sd_runtime.models.network import Model
    from sd_runtime.tasks.canvas import Canvas, Shown
    from sd_runtime.tasks.denoising import Denoiser


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Img2Img:
    """One picture. Everything that can be judged without the model is checked on construction
    (`UnsupportedError`).
    """

    guided: Guided
    noise: NoiseSettings
    #: (height, width, 3), or 4 with an alpha channel, which is laid on `background`.
    image: Pixels
    #: What is drawn: the result's size, but where only what is masked is drawn.
    width: int
    height: int
    denoising_strength: float
    resize_mode: ResizeMode = ResizeMode.STRETCH
    #: What enlarges the picture before the pass; None: Lanczos.
    upscaler: Upscaler | None = None
    #: None: the whole picture is drawn anew.
    mask: Mask | None = None
    #: The first noise is multiplied by it.
    noise_multiplier: float = 1.0
    #: Take as many steps as asked for, instead of the strength's share of them.
    exact_steps: bool = False
    #: Give the result the colours of what it was made from.
    color_correction: bool = False
    background: tuple[int, int, int] = (255, 255, 255)
    #: The picture's edges meet.
    tiling: bool = False
    #: A VAE's file; None: the checkpoint's own.
    vae: Path | None = None
    #: None: the checkpoint that is served.
    checkpoint: Path | None = None
    controls: tuple[Control, ...] = ()

    def __post_init__(self) -> None:
        recipe.judge_size("width", self.width)
        recipe.judge_size("height", self.height)
        recipe.judge_noise(self.noise)
        recipe.judge_guided(self.guided)
        recipe.judge_strength("denoising_strength", self.denoising_strength)
        if not 0 <= self.noise_multiplier < math.inf:
            raise UnsupportedError("initial_noise_multiplier", self.noise_multiplier, "0 or more")
        if self.mask is not None:
            self._judge_mask(self.mask)

    @property
    def steps(self) -> int:
        """Steps asked for."""
        return self.guided.steps

    @property
    def seed(self) -> int:
        """The seed of its noise."""
        return self.noise.seed

    def run(self, model: "Model", on_step: OnStep) -> TaskRun:
        """Prepare the picture, encode, denoise, decode, lay what was not masked over it."""
        original: Pixels = yield Host(partial(codec.flatten, self.image, self.background))
        masked: Masked | None = None
        if self.mask is not None:
            masked = yield Host(
                partial(
                    inpainting.prepare, self.mask, resizing.size_of(original), self._size, self.resize_mode
                )
            )
        frame = Frame(self._size, resizing.size_of(original), masked.region if masked else None)
        picture = yield from self._fit(original, masked)
        if masked is not None and masked.region is None:
            original = picture
        if self.mask is not None and masked is not None:
            picture = yield Host(partial(inpainting.begin, picture, masked, self.mask.content))

        texts = Texts(self.guided)
        steered = yield from steering.first_pass(self.controls, frame, vae=self.vae, tiling=self.tiling)
        denoiser, latents = yield from self._draw(model, texts, picture, masked, steered, on_step)
        drawn: Pixels = yield Decode(latents, self.vae, self.tiling)
        if self.color_correction:
            drawn = yield Host(partial(colours.match, drawn, picture))
        if masked is not None:
            drawn = yield Host(partial(inpainting.finish, drawn, original, masked))
        return Made(drawn, texts.embeddings, denoiser.interrupted)

    @property
    def _size(self) -> Size:
        return self.width, self.height

    def _fit(self, original: Pixels, masked: Masked | None) -> Generator[Work, Any, Pixels]:
        """What is drawn over, at the size that is drawn (with `ResizeMode.LATENT` at its own)."""
        mode = self.resize_mode
        if masked is not None and masked.region is not None:
            original, mode = masked.region.cut(original), ResizeMode.FILL
        own = resizing.size_of(original)
        if mode is ResizeMode.STRETCH:
            return (yield from enlarging.enlarge(original, self._size, self.upscaler))
        if mode is ResizeMode.LATENT:
            # Latents have no size but whole ones.
            width, height = (max(side // LATENT_STRIDE, 1) * LATENT_STRIDE for side in own)
            return (yield from enlarging.enlarge(original, (width, height), None))
        if mode is ResizeMode.CROP:
            return (yield from enlarging.cover(original, self._size, self.upscaler))
        inner = resizing.within(own, self._size)
        resized = yield from enlarging.enlarge(original, inner, self.upscaler)
        centred: Pixels = yield Host(partial(resizing.centre, resized, self._size))
        return centred

    def _draw(
        self,
        model: "Model",
        texts: Texts,
        picture: Pixels,
        masked: Masked | None,
        steered: tuple[Steering, ...],
        on_step: OnStep,
    ) -> "Generator[Work, Any, tuple[Denoiser, torch.Tensor]]":
        """The pass that begins part of the way, with the picture's latents and noise."""
        # Here and not above: the HTTP side builds tasks before torch has been imported.
        from sd_runtime.sampling import passes
        from sd_runtime.sampling.noise import ImageNoise
        from sd_runtime.tasks.denoising import Denoiser, Progress, plan_of

        latents = yield EncodeImage(picture, self.vae, self.tiling)
        if self.resize_mode is ResizeMode.LATENT:
            sides = self.width // LATENT_STRIDE, self.height // LATENT_STRIDE
            latents = enlarging.enlarge_latents(latents, sides, "Latent")
        shape = model.latent_shape(width=self.width, height=self.height)
        noise = ImageNoise(self.noise, shape, model.device.handle, model.latent_stride)
        canvas = self._canvas(model, latents, masked)
        plan = plan_of(self.guided, model)
        strength, exact = self.denoising_strength, self.exact_steps
        steps = passes.step_count(plan, model.discrete, strength, exact_steps=exact)
        denoiser = Denoiser(
            model,
            self.guided,
            texts,
            Progress(on_step, steps),
            self._shown(picture, masked),
            noise,
            vae=self.vae,
            tiling=self.tiling,
            canvas=canvas,
            steering=steered,
        )
        walk = passes.from_latents(
            plan,
            model.discrete,
            noise,
            latents if canvas is None else canvas.latents,
            strength,
            denoiser.step_done,
            exact_steps=exact,
            noise_multiplier=self.noise_multiplier,
        )
        return denoiser, (yield from denoiser.run(walk))

    def _canvas(self, model: "Model", latents: "torch.Tensor", masked: Masked | None) -> "Canvas | None":
        """The latents with the mask, and what is under it as the task wants it."""
        from sd_runtime.sampling.noise import ImageNoise
        from sd_runtime.tasks.canvas import Canvas, mask_latents

        if self.mask is None or masked is None:
            return None
        drawn = mask_latents(masked.drawn, binary=self.mask.round, device=latents.device)
        if self.mask.content is MaskedContent.LATENT_NOTHING:
            latents = latents * (1 - drawn)
        elif self.mask.content is MaskedContent.LATENT_NOISE:
            # The seed's own noise, whatever is mixed into that which the pass begins with (A1111's).
            plain = replace(self.noise, subseed_strength=0.0, resize_from=None)
            shape = model.latent_shape(width=self.width, height=self.height)
            noise = ImageNoise(plain, shape, model.device.handle, model.latent_stride).first()
            latents = latents * (1 - drawn) + noise * drawn
        return Canvas(latents, drawn)

    def _shown(self, picture: Pixels, masked: Masked | None) -> "Shown":
        from sd_runtime.tasks.canvas import Shown

        if masked is None:
            return Shown.nothing(self.width, self.height)
        return Shown(pixels=picture, mask=masked.drawn)

    def _judge_mask(self, mask: Mask) -> None:
        if mask.blur_x < 0 or mask.blur_y < 0:
            raise UnsupportedError("mask_blur", min(mask.blur_x, mask.blur_y), "0 or more")
        if mask.padding < 0:
            raise UnsupportedError("inpaint_full_res_padding", mask.padding, "0 or more")
        if mask.only_masked:
            inpainting.demand_drawing(mask)
        elif self.resize_mode is ResizeMode.LATENT and resizing.size_of(self.image) != self._size:
            raise UnsupportedError("resize_mode", int(self.resize_mode), "0, 1 and 2 with a mask")
