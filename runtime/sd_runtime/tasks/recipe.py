"""What tasks have in common, as the doors state it: plain data, importable without torch.

Texts are ready for the engine: styles are applied, comments and extra networks taken out; schedules, AND and
attention are still in them. Files are named by their paths.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sd_runtime.adapters.uses import AdapterUse
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError
from sd_runtime.models import judge_tile
from sd_runtime.prompt import judging
from sd_runtime.prompt.settings import TextSettings
from sd_runtime.sampling import catalog
from sd_runtime.sampling import judging as solver
from sd_runtime.sampling.settings import NoiseSettings, SamplingSettings

#: Pixels per latent: every dimension of a picture is a multiple of it.
LATENT_STRIDE = 8
MAX_SEED = 2**64 - 1

Grey = npt.NDArray[np.uint8]  # (height, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refiner:
    """Another checkpoint for the last part of a pass, once this share of the trained noise levels is passed
    (A1111's)."""

    checkpoint: Path
    switch_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """What one pass over the latents draws, and how. Everything that can be judged without the model is
    checked on construction (`UnsupportedError`)."""

    prompt: str = ""
    negative_prompt: str = ""
    steps: int = 20
    cfg_scale: float = 7.0
    sampler: str = "Euler"
    scheduler: str = "automatic"
    adapters: tuple[AdapterUse, ...] = ()
    text: TextSettings = field(default_factory=TextSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    #: Below this sigma the negative prompt is left out of every second evaluation (A1111's NGMS).
    s_min_uncond: float = 0.0
    refiner: Refiner | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UnsupportedError("steps", self.steps, "1 or more")
        if not math.isfinite(self.cfg_scale):
            raise UnsupportedError("cfg_scale", self.cfg_scale, "finite numbers")
        if self.text.clip_skip < 1:
            raise UnsupportedError("clip_skip", self.text.clip_skip, "1 (none) or more")
        catalog.find_sampler(self.sampler)
        catalog.find_scheduler(self.scheduler)
        solver.judge(self.sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscaler:
    """How a picture is made larger: by a file's network, by a plugin, or by one of the ways that need neither
    (A1111's names "None", "Lanczos", "Nearest", and for latents "Latent", "Latent (nearest)", …)."""

    name: str
    path: Path | None = None
    #: Waits for another process, and returns the picture larger by that one's own factor.
    plugin: Callable[[Pixels], Pixels] | None = None
    #: Of one lane, which is one plugin, few are asked at a time.
    lane: str | None = None
    #: Side in pixels of what the network is shown at once; 0: as much as is served. Less than 32 is refused.
    tile: int = 192
    overlap: int = 8

    def __post_init__(self) -> None:
        judge_tile(self.tile)

    @property
    def is_plain(self) -> bool:
        """Whether it is one of those that only resample."""
        return self.path is None and self.plugin is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hires:
    """A second pass over a larger picture (A1111's hires fix)."""

    guided: Guided
    #: The final size.
    width: int
    height: int
    #: The size that is upscaled to, centre-cropped to the final one where one side is longer.
    upscale_to: tuple[int, int]
    upscaler: Upscaler
    denoising_strength: float
    checkpoint: Path | None = None
    #: Also return the picture of the first pass.
    keep_first_pass: bool = False


class ResizeMode(IntEnum):
    """What happens to a picture of another shape (A1111's numbers)."""

    STRETCH = 0
    CROP = 1
    FILL = 2
    LATENT = 3


class MaskedContent(IntEnum):
    """What the masked area begins with (A1111's inpainting_fill)."""

    FILL = 0
    ORIGINAL = 1
    LATENT_NOISE = 2
    LATENT_NOTHING = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """Which part of a picture is drawn anew: where the mask is white."""

    image: Grey
    blur_x: int = 4
    blur_y: int = 4
    content: MaskedContent = MaskedContent.ORIGINAL
    #: Draw the masked area alone, enlarged to the whole size, with so many pixels around it.
    only_masked: bool = False
    padding: int = 32
    invert: bool = False
    #: In the latents each pixel is masked or not, with nothing in between.
    round: bool = True


def judge_size(field: str, size: int) -> None:
    """Refuses a side that no latents have."""
    if size < LATENT_STRIDE or size % LATENT_STRIDE:
        raise UnsupportedError(field, size, f"positive multiples of {LATENT_STRIDE}")


def judge_noise(noise: NoiseSettings) -> None:
    """Refuses what no generator takes."""
    for name, seed in (("seed", noise.seed), ("subseed", noise.subseed)):
        if not 0 <= seed <= MAX_SEED:
            raise UnsupportedError(name, seed, f"0 to {MAX_SEED}")
    if not 0 <= noise.subseed_strength <= 1:
        raise UnsupportedError("subseed_strength", noise.subseed_strength, "0 to 1")
    if noise.resize_from is not None:
        for name, size in zip(("seed_resize_from_w", "seed_resize_from_h"), noise.resize_from, strict=True):
            if size < LATENT_STRIDE:
                raise UnsupportedError(name, size, f"{LATENT_STRIDE} or more")


def judge_strength(field: str, strength: float) -> None:
    """Refuses a denoising strength that is no share."""
    if not 0 <= strength <= 1:
        raise UnsupportedError(field, strength, "0 (keep the picture) to 1 (keep nothing of it)")


def evaluations(guided: Guided) -> int:
    """How many evaluations a schedule's shares are of: A1111 counts two a step of a second-order sampler."""
    return guided.steps * (2 if catalog.find_sampler(guided.sampler).second_order else 1)


def judge_guided(guided: Guided, *, after: Guided | None = None) -> None:
    """Refuses what `Guided` itself has not: prompts that exceed limits, and a refiner that never could be.
    `after` is the pass before this one (hires fix)."""
    prefix, count = "hr_" if after else "", evaluations(after or guided)
    second = evaluations(guided) if after else None
    _judge_prompt(f"{prefix}prompt", guided.prompt, count, second)
    _judge_prompt(f"{prefix}negative_prompt", guided.negative_prompt, count, second)
    if not 0 <= guided.s_min_uncond < math.inf:
        raise UnsupportedError("s_min_uncond", guided.s_min_uncond, "0 or more")
    if guided.refiner is not None and not 0 <= guided.refiner.switch_at <= 1:
        raise UnsupportedError("refiner_switch_at", guided.refiner.switch_at, "0 to 1")


# All pictures of a request have the same prompts, which are judged once.
@lru_cache(maxsize=8)
def _judge_prompt(field: str, prompt: str, count: int, second: int | None) -> None:
    judging.judge(field, prompt, count, second_pass=second)
