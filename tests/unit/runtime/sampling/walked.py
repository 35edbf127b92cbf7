"""A stand-in network, and a sampler walked through with it to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from sd_runtime.models.discrete import scaled_linear
from sd_runtime.sampling import catalog, samplers
from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.settings import SamplingSettings
from sd_runtime.sampling.walking import Course

if TYPE_CHECKING:
    from sd_runtime.sampling.walking import Walk

SHAPE = (1, 4, 8, 8)
DISCRETE = scaled_linear(start=0.00085, end=0.012)

Network = Callable[[torch.Tensor, float], Estimate]


def predict_noise(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Nonlinear in x and sigma, of a noise prediction's size."""
    scaled = x / (sigma**2 + 1) ** 0.5
    return torch.tanh(scaled * 1.5) + 0.2 * torch.sin(3 * scaled.roll(1, -1)) + 0.05 * sigma**0.5


def network(x: torch.Tensor, sigma: float) -> Estimate:
    return Estimate(x - sigma * predict_noise(x, sigma))


def unit(seed: int = 7) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def course(
    name: str,
    sigmas: Sequence[float],
    *,
    seed: int = 3,
    report: Callable[[int], None] = lambda done: None,
    settings: SamplingSettings | None = None,
) -> Course:
    """The way of a sampler whose noise is independent of the sigmas."""
    settings = settings or SamplingSettings()
    generator = torch.Generator().manual_seed(seed)
    eta = catalog.find_sampler(name).default_eta if settings.eta is None else settings.eta
    return Course(
        sigmas=sigmas,
        sigma_min=DISCRETE.sigma_min,
        draw=lambda sigma, after: torch.randn(SHAPE, generator=generator),
        step_done=report,
        settings=settings,
        eta=eta,
    )


def asked(run: Walk, estimate: Network = network) -> Iterator[tuple[torch.Tensor, float]]:
    """What the walk asks, answered by the network; it ends with the latents, at a sigma of 0."""
    try:
        x, sigma = next(run)
        while True:
            yield x, sigma
            x, sigma = run.send(estimate(x, sigma))
    except StopIteration as finished:
        yield finished.value, 0.0


def end(run: Walk, estimate: Network = network) -> torch.Tensor:
    *_, (latents, _) = asked(run, estimate)
    return latents


def walk(
    name: str, sigmas: Sequence[float], x: torch.Tensor | None = None, **options: object
) -> torch.Tensor:
    """The end of a sampler that begins with noise of the first sigma."""
    start = unit() * sigmas[0] if x is None else x
    return end(samplers.WALKS[name](start, course(name, sigmas, **options)))  # type: ignore[arg-type]
