"""One pass over the latents of a picture, from noise or from latents: what tasks call.

Puts schedule, noise and sampler together. Knows no network: a pass yields (x, sigma) and is sent the
`Estimate`.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.discrete import DiscreteSchedule
from sd_runtime.sampling import catalog, samplers, schedules
from sd_runtime.sampling.ahead import Ahead, rehearsed
from sd_runtime.sampling.catalog import SamplerInfo
from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.sampling.settings import SamplingSettings
from sd_runtime.sampling.walking import Course, StepDone, Walk

__all__ = ["SamplerPlan", "StepDone", "Walk", "from_latents", "from_noise", "step_count"]

#: The largest strength that counts: at 1 there would be one step more than the schedule has.
MOST_STRENGTH = 0.999
#: The most steps a schedule is divided into for a small share of it to have as many as were asked for.
FINEST = 10_000


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """How a pass goes through the noise levels; names as in `catalog`, `automatic` included."""

    sampler: str
    scheduler: str
    steps: int
    settings: SamplingSettings = field(default_factory=SamplingSettings)
    #: The model's, for the schedule that has levels of its own for each.
    family: str = "SD15"


def from_noise(plan: SamplerPlan, discrete: DiscreteSchedule, noise: ImageNoise, step_done: StepDone) -> Walk:
    """A pass that begins with nothing but noise. `next()` gives the first (x, sigma); the generator returns
    the clean latents. Raises `UnsupportedError` for numbers that no solver takes."""
    info = catalog.find_sampler(plan.sampler)
    sigmas = _levels(info, plan, discrete, plan.steps)
    scaled = info.unit_variance or plan.settings.sgm_noise_multiplier
    x = noise.first() * (math.hypot(1, sigmas[0]) if scaled else sigmas[0])
    return _walk(info, plan, discrete, noise, x, sigmas, step_done)


def from_latents(
    plan: SamplerPlan,
    discrete: DiscreteSchedule,
    noise: ImageNoise,
    latents: torch.Tensor,
    strength: float,
    step_done: StepDone,
    *,
    exact_steps: bool = False,
    noise_multiplier: float = 1.0,
) -> Walk:
    """A pass that begins part of the way: with `latents` (1, C, H, W) under as much noise as `strength`, 0 to
    1, says, times `noise_multiplier`.

    It takes the strength's share of the plan's steps, and one more (A1111's rule), or with `exact_steps` as
    many as were planned, spaced more closely. A strength of 0 with `exact_steps` takes none.
    """
    info = catalog.find_sampler(plan.sampler)
    sigmas = _last_levels(info, plan, discrete, strength, exact_steps)
    if len(sigmas) == 1:
        return _nothing(latents)
    x = latents + noise.first() * (noise_multiplier * sigmas[0])
    return _walk(info, plan, discrete, noise, x, sigmas, step_done)


def step_count(
    plan: SamplerPlan,
    discrete: DiscreteSchedule,
    strength: float | None = None,
    exact_steps: bool = False,
) -> int:
    """The number of steps that the pass will have reported at its end; `strength` None: from noise."""
    info = catalog.find_sampler(plan.sampler)
    if strength is None:
        sigmas = _levels(info, plan, discrete, plan.steps)
    else:
        sigmas = _last_levels(info, plan, discrete, strength, exact_steps)
    return samplers.step_count(info.name, sigmas) if len(sigmas) > 1 else 0


def _levels(info: SamplerInfo, plan: SamplerPlan, discrete: DiscreteSchedule, steps: int) -> list[float]:
    """The sigmas of so many steps."""
    discards = info.discards_penultimate or plan.settings.discard_penultimate
    name = catalog.resolve_scheduler(info, plan.scheduler)
    sigmas = schedules.build(name, steps + discards, discrete, plan.settings, family=plan.family)
    return [*sigmas[:-2], 0.0] if discards and len(sigmas) > 2 else sigmas


def _last_levels(
    info: SamplerInfo, plan: SamplerPlan, discrete: DiscreteSchedule, strength: float, exact_steps: bool
) -> list[float]:
    """The sigmas from where the strength says to 0."""
    if not 0 <= strength <= 1:
        raise UnsupportedError("denoising_strength", strength, "0 to 1")
    share = min(strength, MOST_STRENGTH)
    if not exact_steps:
        return _levels(info, plan, discrete, plan.steps)[-(int(share * plan.steps) + 2) :]
    if share == 0:
        return [0.0]
    steps = max(plan.steps, int(min(plan.steps / share, FINEST)))
    return _levels(info, plan, discrete, steps)[-(plan.steps + 1) :]


def _walk(
    info: SamplerInfo,
    plan: SamplerPlan,
    discrete: DiscreteSchedule,
    noise: ImageNoise,
    x: torch.Tensor,
    sigmas: list[float],
    step_done: StepDone,
) -> Walk:
    settings, sampler = plan.settings, samplers.WALKS[info.name]
    if not info.uses_s_noise:
        # DDIM walks as Euler a does, and LCM draws too; A1111 gives s_noise to neither, nor tells of it.
        settings = replace(settings, s_noise=1.0)
    draw = noise.brownian(sigmas[-2], sigmas[0]) if info.brownian else noise.further
    course = Course(
        sigmas=sigmas,
        sigma_min=discrete.sigma_min,
        draw=draw,
        step_done=step_done,
        settings=settings,
        eta=info.default_eta if settings.eta is None else settings.eta,
    )
    if not info.adaptive and (info.brownian or noise.is_slow):
        ahead = Ahead(draw, partial(rehearsed, sampler, course))
        draw, noise.prepare = ahead, ahead.prepare
    placed = replace(course, draw=lambda sigma, after: noise.placed(draw(sigma, after)))
    return sampler(x, placed)


def _nothing(latents: torch.Tensor) -> Generator[tuple[torch.Tensor, float], Estimate, torch.Tensor]:
    return latents
    yield
