"""One picture from a prompt: the request, its checks, and the story of making it.

Knows nothing of HTTP, batches or devices: it yields work and is sent the answers. Importing it does not
import torch.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sd_runtime.engine.work import Decode, Encode, Evaluate, OnStep, TaskRun
from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt import grammar
from sd_runtime.sampling import catalog

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sd_runtime.models.network import Model

# Pixels per latent: every dimension of a picture is a multiple of it.
LATENT_STRIDE = 8
MAX_SEED = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Txt2Img:
    """One image. Everything that can be judged without the model is checked on construction
    (`UnsupportedError`).
    """

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    cfg_scale: float
    sampler: str
    scheduler: str
    seed: int
    clip_skip: int = 1

    def __post_init__(self) -> None:
        for field, size in (("width", self.width), ("height", self.height)):
            if size < LATENT_STRIDE or size % LATENT_STRIDE:
                raise UnsupportedError(field, size, f"positive multiples of {LATENT_STRIDE}")
        if self.steps < 1:
            raise UnsupportedError("steps", self.steps, "1 or more")
        if not math.isfinite(self.cfg_scale):
            raise UnsupportedError("cfg_scale", self.cfg_scale, "finite numbers")
        if self.clip_skip < 1:
            raise UnsupportedError("clip_skip", self.clip_skip, "1 (none) or more")
        if not 0 <= self.seed <= MAX_SEED:
            raise UnsupportedError("seed", self.seed, f"0 to {MAX_SEED}")
        catalog.find_sampler(self.sampler)
        catalog.find_scheduler(self.scheduler)
        _judge_prompts(self.prompt, self.negative_prompt)

    def run(self, model: "Model", on_step: OnStep) -> TaskRun:
        """Prepare, encode, denoise, decode."""
        # Here and not above: the HTTP side builds tasks before torch has been imported.
        from sd_runtime.sampling import noise, samplers, schedules

        sampler = catalog.find_sampler(self.sampler)
        scheduler = catalog.resolve_scheduler(sampler, self.scheduler)
        sigmas = schedules.build(scheduler, self.steps, model.discrete)
        draw = noise.image_noise(
            self.seed, model.latent_shape(width=self.width, height=self.height), model.device.handle
        )
        cond = yield Encode(self.prompt, self.clip_skip)
        uncond = None
        if self.cfg_scale != 1:
            uncond = yield Encode(self.negative_prompt, self.clip_skip, negative=True)

        steps = len(sigmas) - 1
        walk = samplers.WALKS[sampler.name](
            draw() * sigmas[0], sigmas, draw, lambda done: on_step(done, steps)
        )
        try:
            x, sigma = next(walk)
            while True:
                denoised = yield Evaluate(x, sigma, cond, uncond, self.cfg_scale)
                x, sigma = walk.send(denoised)
        except StopIteration as finished:
            latents = finished.value
        picture: npt.NDArray[np.uint8] = yield Decode(latents)
        return picture


# All pictures of a request have the same prompts, which are judged once.
@lru_cache(maxsize=8)
def _judge_prompts(prompt: str, negative_prompt: str) -> None:
    grammar.refuse_unserved("prompt", prompt)
    grammar.refuse_unserved("negative_prompt", negative_prompt)
