"""Parity with diffusers' own schedulers: the same network, the same sigmas and noise, the same end.

diffusers keeps most latents at unit variance: x / sqrt(1 + sigma^2) is its sample.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import walked
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from walked import DISCRETE, SHAPE, predict_noise, unit

from sd_runtime.sampling import samplers
from sd_runtime.sampling.settings import SamplingSettings

# diffusers 0.42 hands torch tensors to numpy 2 in a way numpy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LINSPACE = {**SD, "timestep_spacing": "linspace"}
STEPS = 20


def scale(sigma: float) -> float:
    return float((sigma**2 + 1) ** 0.5)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    assert ours.std() > 0.1
    return float((ours - theirs).abs().max()) <= 1e-3


def in_sigma(scheduler: Any, sigmas: list[float]) -> torch.Tensor:
    """Of a scheduler whose sample is in our scale."""
    sample = unit() * sigmas[0]
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(predict_noise(sample, sigmas[i]), t, sample).prev_sample
    return sample


def in_unit_variance(
    scheduler: Any,
    sigma_of: Callable[[int, Any], float],
    timesteps: Any = None,
    seen: list[torch.Tensor] | None = None,
    **more: Any,
) -> torch.Tensor:
    sample = unit() * (sigma_of(0, scheduler.timesteps[0]) / scale(sigma_of(0, scheduler.timesteps[0])))
    for i, t in enumerate(scheduler.timesteps if timesteps is None else timesteps):
        sigma = sigma_of(i, t)
        if seen is not None:
            seen.append(sample)
        noise = predict_noise(sample * scale(sigma), sigma)
        step = {key: value() if callable(value) else value for key, value in more.items()}
        sample = scheduler.step(noise, t, sample, **step).prev_sample
    return sample


def at_timestep(i: int, t: Any) -> float:
    return float(DISCRETE.sigmas[int(t)])


def draws(seed: int = 3) -> Callable[[], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(SHAPE, generator=generator)


def test_euler() -> None:
    scheduler = EulerDiscreteScheduler(**LINSPACE, use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    assert close(walked.walk("Euler", sigmas), in_sigma(scheduler, sigmas))


def test_heun() -> None:
    scheduler = HeunDiscreteScheduler(**LINSPACE, use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    asked = scheduler.sigmas.tolist()
    sigmas = list(dict.fromkeys(asked))
    assert len(sigmas) == STEPS + 1
    assert close(walked.walk("Heun", sigmas), in_sigma(scheduler, asked))


def test_euler_ancestral() -> None:
    scheduler = EulerAncestralDiscreteScheduler(**LINSPACE)
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    sample = unit() * sigmas[0]
    generator = torch.Generator().manual_seed(3)
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(predict_noise(sample, sigmas[i]), t, sample, generator=generator).prev_sample
    assert close(walked.walk("Euler a", sigmas), sample)


@pytest.mark.parametrize(
    ("name", "algorithm", "solver"),
    [
        ("DPM++ 2M", "dpmsolver++", "midpoint"),
        ("DPM++ 2M SDE", "sde-dpmsolver++", "midpoint"),
        ("DPM++ 2M SDE Heun", "sde-dpmsolver++", "heun"),
    ],
)
def test_dpm_solver_multistep(name: str, algorithm: str, solver: str) -> None:
    scheduler = DPMSolverMultistepScheduler(
        **LINSPACE, algorithm_type=algorithm, solver_order=2, solver_type=solver, use_karras_sigmas=True
    )
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    theirs = in_unit_variance(scheduler, lambda i, t: sigmas[i], variance_noise=draws())
    assert close(walked.walk(name, sigmas), theirs)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("lower", [True, False])
def test_unipc(variant: str, order: int, lower: bool) -> None:
    scheduler = UniPCMultistepScheduler(
        **LINSPACE, solver_order=order, solver_type=variant, lower_order_final=lower, use_karras_sigmas=True
    )
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    settings = SamplingSettings(unipc_variant=variant, unipc_order=order, unipc_lower_order_final=lower)
    run = samplers.WALKS["UniPC"](unit() * sigmas[0], walked.course("UniPC", sigmas, settings=settings))
    *ours, (end, _) = walked.asked(run)
    seen: list[torch.Tensor] = []
    # The step to 0 is of order 1 here. So it is there with these settings alone; else it divides by infinity.
    reaches_zero = lower and variant == "bh2"
    timesteps = scheduler.timesteps if reaches_zero else scheduler.timesteps[:-1]
    theirs = in_unit_variance(scheduler, lambda i, t: sigmas[i], timesteps, seen=seen)
    seen.append(theirs)
    assert len(ours) == STEPS
    assert all(close(x, before * scale(sigma)) for (x, sigma), before in zip(ours, seen, strict=False))
    assert not reaches_zero or close(end, theirs)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta: float) -> None:
    scheduler = DDIMScheduler(**SD, clip_sample=False, steps_offset=1)
    scheduler.set_timesteps(STEPS)
    sigmas = [*(at_timestep(0, t) for t in scheduler.timesteps), 0.0]
    theirs = in_unit_variance(scheduler, at_timestep, eta=eta, variance_noise=draws() if eta else None)
    assert close(walked.walk("DDIM", sigmas, settings=SamplingSettings(eta=eta)), theirs)


def test_plms() -> None:
    scheduler = PNDMScheduler(**SD, skip_prk_steps=True, set_alpha_to_one=True, steps_offset=1)
    scheduler.set_timesteps(STEPS)
    # Its second evaluation is the other half of the first step.
    timesteps = list(dict.fromkeys(int(t) for t in scheduler.timesteps))
    assert len(timesteps) == STEPS
    sigmas = [*(at_timestep(0, t) for t in timesteps), 0.0]
    assert close(walked.walk("PLMS", sigmas), in_unit_variance(scheduler, at_timestep))


def test_lcm() -> None:
    scheduler = LCMScheduler(**SD)
    scheduler.set_timesteps(8)
    sigmas = [*(at_timestep(0, t) for t in scheduler.timesteps), 0.0]
    generator = torch.Generator().manual_seed(3)
    theirs = in_unit_variance(scheduler, at_timestep, generator=generator)
    assert close(walked.walk("LCM", sigmas), theirs)
