"""Parity with diffusers' own schedulers: the same network, the same sigmas, the same end."""

from collections.abc import Callable

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from sd_runtime.sampling import samplers

# diffusers 0.42 hands torch tensors to numpy 2 in a way numpy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "linspace",
}
STEPS = 20
SHAPE = (1, 4, 8, 8)


def predict_noise(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A stand-in network, nonlinear in x and sigma, of a noise prediction's size."""
    scaled = x / (sigma**2 + 1) ** 0.5
    return torch.tanh(scaled * 1.5) + 0.2 * torch.sin(3 * scaled.roll(1, -1)) + 0.05 * sigma**0.5


def walk(name: str, sigmas: list[float], x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    run = samplers.WALKS[name](x, sigmas, lambda: torch.randn(SHAPE, generator=generator), lambda done: None)
    x, sigma = next(run)
    while True:
        try:
            x, sigma = run.send(x - sigma * predict_noise(x, sigma))
        except StopIteration as finished:
            result: torch.Tensor = finished.value
            return result


def start(sigma: float) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)) * sigma


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    assert ours.std() > 0.1
    return bool((ours - theirs).abs().max() <= 1e-3)


def test_euler_equals_diffusers() -> None:
    scheduler = EulerDiscreteScheduler(**SD, use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    sample = start(sigmas[0])
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(predict_noise(sample, sigmas[i]), t, sample).prev_sample
    assert close(walk("Euler", sigmas, start(sigmas[0])), sample)


def test_heun_equals_diffusers() -> None:
    scheduler = HeunDiscreteScheduler(**SD, use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    asked = scheduler.sigmas.tolist()
    sample = start(asked[0])
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(predict_noise(sample, asked[i]), t, sample).prev_sample
    sigmas = list(dict.fromkeys(asked))
    assert len(sigmas) == STEPS + 1
    assert close(walk("Heun", sigmas, start(sigmas[0])), sample)


def test_dpmpp_2m_equals_diffusers() -> None:
    scheduler = DPMSolverMultistepScheduler(
        **SD, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", use_karras_sigmas=True
    )
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()

    def scale(sigma: float) -> float:  # diffusers keeps the latents of this solver at unit variance
        return float((sigma**2 + 1) ** 0.5)

    sample = start(sigmas[0]) / scale(sigmas[0])
    for i, t in enumerate(scheduler.timesteps):
        noise = predict_noise(sample * scale(sigmas[i]), sigmas[i])
        sample = scheduler.step(noise, t, sample).prev_sample
    assert close(walk("DPM++ 2M", sigmas, start(sigmas[0])), sample)


def test_euler_ancestral_equals_diffusers_given_the_same_noise() -> None:
    scheduler = EulerAncestralDiscreteScheduler(**SD)
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    generator = torch.Generator().manual_seed(3)
    sample = start(sigmas[0])
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(predict_noise(sample, sigmas[i]), t, sample, generator=generator).prev_sample
    assert close(walk("Euler a", sigmas, start(sigmas[0]), seed=3), sample)


@pytest.mark.parametrize(
    ("name", "evaluations"), [("Euler", 3), ("Euler a", 3), ("DPM++ 2M", 3), ("Heun", 5)]
)
def test_every_step_is_reported_after_its_evaluations(name: str, evaluations: int) -> None:
    events: list[str] = []
    report: Callable[[int], None] = lambda done: events.append(f"step {done}")  # noqa: E731
    run = samplers.WALKS[name](start(10.0), [10.0, 5.0, 1.0, 0.0], lambda: torch.zeros(SHAPE), report)
    x, _ = next(run)
    with pytest.raises(StopIteration):
        while True:
            events.append("evaluation")
            x, _ = run.send(x * 0.5)
    assert events.count("evaluation") == evaluations
    assert [event for event in events if event != "evaluation"] == ["step 1", "step 2", "step 3"]
    assert events[-1] == "step 3"


@pytest.mark.parametrize("name", samplers.WALKS)
def test_a_sampler_returns_what_a_perfect_network_says(name: str) -> None:
    truth = torch.full(SHAPE, 0.5)
    run = samplers.WALKS[name](
        start(10.0), [10.0, 3.0, 1.0, 0.0], lambda: torch.randn(SHAPE), lambda done: None
    )
    next(run)
    with pytest.raises(StopIteration) as finished:
        while True:
            run.send(truth)
    assert torch.allclose(finished.value.value, truth, atol=1e-5)
