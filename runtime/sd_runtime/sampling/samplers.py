"""Samplers as generators: each yields (x, sigma), is sent the denoised estimate, and returns the finished
latents.

So a sampler never sees the network, the prompt or other pictures, and a second-order one simply asks twice
a step. x is in k-diffusion's scale: clean latents plus sigma times unit noise. Coefficients are Python
floats on the host.
"""

import math
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise

import torch

from sd_runtime.sampling.noise import Draw

Walk = Generator[tuple[torch.Tensor, float], torch.Tensor, torch.Tensor]
StepDone = Callable[[int], None]
Sampler = Callable[[torch.Tensor, Sequence[float], Draw, StepDone], Walk]


def euler(x: torch.Tensor, sigmas: Sequence[float], draw: Draw, step_done: StepDone) -> Walk:
    """Euler steps of the probability-flow ODE dx/dsigma = (x - D(x)) / sigma (Karras et al. 2022, algorithm
    2).
    """
    for i, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = yield x, sigma
        x = _towards(x, denoised, sigma, after)
        step_done(i)
    return x


def euler_ancestral(x: torch.Tensor, sigmas: Sequence[float], draw: Draw, step_done: StepDone) -> Walk:
    """Euler to a lower sigma than the next, then fresh noise up to it: the variance of DDPM's posterior
    (eta = 1).
    """
    for i, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = yield x, sigma
        up = min(after, math.sqrt(after**2 * (sigma**2 - after**2) / sigma**2))
        x = _towards(x, denoised, sigma, math.sqrt(after**2 - up**2))
        if after > 0:
            x = x + draw() * up
        step_done(i)
    return x


def heun(x: torch.Tensor, sigmas: Sequence[float], draw: Draw, step_done: StepDone) -> Walk:
    """Heun's second-order method without churn (Karras et al. 2022, algorithm 1); Euler's to 0."""
    for i, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = yield x, sigma
        guess = _towards(x, denoised, sigma, after)
        if after > 0:
            slope = (x - denoised) / sigma
            denoised = yield guess, after
            x = x + (slope + (guess - denoised) / after) / 2 * (after - sigma)
        else:
            x = guess
        step_done(i)
    return x


def dpmpp_2m(x: torch.Tensor, sigmas: Sequence[float], draw: Draw, step_done: StepDone) -> Walk:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2) with lambda = -log(sigma), first and
    last step of order 1.
    """
    previous: torch.Tensor | None = None
    h_previous = 0.0
    for i, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = yield x, sigma
        if after == 0:
            x = denoised
        else:
            h = math.log(sigma / after)
            estimate = denoised
            if previous is not None:
                estimate = denoised + (denoised - previous) * (h / (2 * h_previous))
            x = (after / sigma) * x - math.expm1(-h) * estimate
            previous, h_previous = denoised, h
        step_done(i)
    return x


def _towards(x: torch.Tensor, denoised: torch.Tensor, sigma: float, after: float) -> torch.Tensor:
    return x + (x - denoised) * ((after - sigma) / sigma)


WALKS: dict[str, Sampler] = {
    "Euler": euler,
    "Euler a": euler_ancestral,
    "Heun": heun,
    "DPM++ 2M": dpmpp_2m,
}
