"""A picture from a prompt, in one pass over its latents or in two (hires fix).

Knows nothing of HTTP, batches or devices: it yields work and is sent the answers. Importing it does not
import torch.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sd_runtime.engine.work import Decode, Made, OnStep, Pixels, TaskRun, Work
from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks import enlarging, recipe, steering
from sd_runtime.tasks.control import Control
from sd_runtime.tasks.recipe import Guided, Hires
from sd_runtime.tasks.steering import Frame
from sd_runtime.tasks.texts import Texts

if TYPE_CHECKING:
    import torch

    from sd_runtime.models.network import Model
    from sd_runtime.tasks.denoising import Denoiser


@dataclass(frozen=True, slots=True, kw_only=True)
class Txt2Img:
    """One picture. Everything that can be judged without the model is checked on construction
    (`UnsupportedError`).
    """

    guided: Guided
    noise: NoiseSettings
    #: Of the first pass, in pixels.
    width: int
    height: int
    #: The picture's edges meet.
    tiling: bool = False
    #: A VAE's file; None: the checkpoint's own.
    vae: Path | None = None
    #: None: the checkpoint that is served.
    checkpoint: Path | None = None
    hires: Hires | None = None
    #: Stands for what the first pass would make, which then is left out; only with `hires`.
    first_pass: Pixels | None = field(default=None, compare=False)
    #: ControlNets, of both passes.
    controls: tuple[Control, ...] = ()

    def __post_init__(self) -> None:
        recipe.judge_size("width", self.width)
        recipe.judge_size("height", self.height)
        recipe.judge_noise(self.noise)
        recipe.judge_guided(self.guided)
        if self.hires is not None:
            _judge_hires(self.guided, self.hires)
        elif self.first_pass is not None:
            raise UnsupportedError("firstpass_image", "a picture", "requests with enable_hr")

    @property
    def steps(self) -> int:
        """Steps asked for in the first pass."""
        return self.guided.steps

    @property
    def seed(self) -> int:
        """The seed of its noise."""
        return self.noise.seed

    def run(self, model: "Model", on_step: OnStep) -> TaskRun:
        """Denoise from noise; enlarge and denoise again where asked; decode."""
        # Here and not above: the HTTP side builds tasks before torch has been imported.
        from sd_runtime.tasks import hires

        if self.hires is None:
            texts, denoiser, latents = yield from self._draw(model, on_step, parts=1)
            picture: Pixels = yield Decode(latents, self.vae, self.tiling)
            return Made(picture, texts.embeddings, denoiser.interrupted)
        if self.first_pass is not None:
            begun = hires.Begun(model=model, parts=1, picture=self.first_pass)
        else:
            texts, denoiser, latents = yield from self._draw(model, on_step, parts=2)
            begun = hires.Begun(model=denoiser.model, parts=2, latents=latents, embeddings=texts.embeddings)
            if denoiser.interrupted:
                picture = yield Decode(latents, self.vae, self.tiling)
                return Made(picture, texts.embeddings, interrupted=True)
        return (yield from hires.run(self, self.hires, begun, model, on_step))

    def _draw(
        self, model: "Model", on_step: OnStep, *, parts: int
    ) -> "Generator[Work, Any, tuple[Texts, Denoiser, torch.Tensor]]":
        """The pass that begins with nothing but noise."""
        from sd_runtime.sampling import passes
        from sd_runtime.sampling.noise import ImageNoise
        from sd_runtime.tasks.canvas import Shown
        from sd_runtime.tasks.denoising import Denoiser, Progress, plan_of

        frame = Frame((self.width, self.height))
        steered = yield from steering.first_pass(self.controls, frame, vae=self.vae, tiling=self.tiling)
        plan, texts = plan_of(self.guided, model), Texts(self.guided)
        shape = model.latent_shape(width=self.width, height=self.height)
        noise = ImageNoise(self.noise, shape, model.device.handle, model.latent_stride)
        progress = Progress(on_step, passes.step_count(plan, model.discrete), 0, parts)
        shown = Shown.nothing(self.width, self.height)
        denoiser = Denoiser(
            model,
            self.guided,
            texts,
            progress,
            shown,
            noise,
            vae=self.vae,
            tiling=self.tiling,
            steering=steered,
        )
        walk = passes.from_noise(plan, model.discrete, noise, denoiser.step_done)
        return texts, denoiser, (yield from denoiser.run(walk))


def _judge_hires(first: Guided, hires: Hires) -> None:
    recipe.judge_guided(hires.guided, after=first)
    recipe.judge_size("hires width", hires.width)
    recipe.judge_size("hires height", hires.height)
    recipe.judge_strength("denoising_strength", hires.denoising_strength)
    if hires.upscale_to[0] < hires.width or hires.upscale_to[1] < hires.height:
        raise UnsupportedError("upscale_to", hires.upscale_to, f"{hires.width}x{hires.height} or more")
    if hires.upscaler.is_plain and hires.upscaler.name not in (*enlarging.PLAIN, *enlarging.LATENT):
        raise UnsupportedError("hr_upscaler", hires.upscaler.name, (*enlarging.PLAIN, *enlarging.LATENT))
