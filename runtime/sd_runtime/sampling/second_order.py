"""Samplers of two evaluations a step: Heun, DPM2, DPM2 a, and Restart, which goes part of the way again."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from sd_runtime.sampling.walking import Course, Walk, churned, split, towards

#: Restart: from how many steps on it goes back, from the level nearest to the first sigma to the second.
RESTART_FROM_STEPS = 20
RESTART_BETWEEN = 0.1, 2.0
#: From so many steps on, twice, with a quarter of the steps each; before, once with nine.
RESTART_TWICE_FROM_STEPS = 36
RESTART_RHO = 7.0


def heun(x: torch.Tensor, course: Course) -> Walk:
    """Heun's method (Karras et al. 2022, arXiv:2206.00364, algorithm 2); Euler's to 0."""
    for number, sigma, after in course.pairs():
        x, sigma = churned(x, sigma, course)
        x = yield from _heun_step(x, sigma, after)
        course.step_done(number)
    return x


def dpm2(x: torch.Tensor, course: Course) -> Walk:
    """The midpoint method in log(sigma) (DPM-Solver-2, Lu et al. 2022, arXiv:2206.00927) with churn; Euler's
    to 0."""
    for number, sigma, after in course.pairs():
        x, sigma = churned(x, sigma, course)
        x = yield from _midpoint_step(x, sigma, after)
        course.step_done(number)
    return x


def dpm2_ancestral(x: torch.Tensor, course: Course) -> Walk:
    """`dpm2` to a lower sigma than the next, then fresh noise up to it."""
    for number, sigma, after in course.pairs():
        down, up = split(sigma, after, course.eta)
        x = yield from _midpoint_step(x, sigma, down)
        if after > 0:
            x = x + course.noise(sigma, after) * up
        course.step_done(number)
    return x


def restart(x: torch.Tensor, course: Course) -> Walk:
    """Heun's method with returns to a noisier level (Xu et al. 2023, arXiv:2306.14878), along
    `restart_path`."""
    reached = course.sigmas[0]
    for number, (sigma, after) in enumerate(restart_path(course.sigmas), 1):
        if sigma > reached:
            x = x + course.noise(reached, sigma) * math.sqrt(sigma**2 - reached**2)
        x = yield from _heun_step(x, sigma, after)
        reached = after
        course.step_done(number)
    return x


def restart_path(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    """The steps of `restart` from sigma to sigma. As in A1111, from 20 steps on the schedule's ends alone
    count: the steps that remain besides those of the returns are spaced by Karras' rule."""
    steps = len(sigmas) - 1
    if steps < RESTART_FROM_STEPS:
        return list(pairwise(sigmas))
    times, each = (2, steps // 4) if steps >= RESTART_TWICE_FROM_STEPS else (1, 9)
    main = [*_karras(sigmas[0], sigmas[-2], steps - times * each), 0.0]
    low, high = (_nearest(main, sigma) for sigma in RESTART_BETWEEN)
    path = list(pairwise(main))
    if high < low:
        path[low:low] = list(pairwise(_karras(main[high], main[low], each + 1))) * times
    return path


def _heun_step(x: torch.Tensor, sigma: float, after: float) -> Walk:
    denoised = (yield x, sigma).denoised
    guess = towards(x, denoised, sigma, after)
    if after == 0:
        return guess
    slope = (x - denoised) / sigma
    denoised = (yield guess, after).denoised
    return x + (slope + (guess - denoised) / after) * ((after - sigma) / 2)


def _midpoint_step(x: torch.Tensor, sigma: float, after: float) -> Walk:
    denoised = (yield x, sigma).denoised
    if after == 0:
        return denoised
    middle = math.sqrt(sigma * after)
    guess = towards(x, denoised, sigma, middle)
    denoised = (yield guess, middle).denoised
    return x + (guess - denoised) * ((after - sigma) / middle)


def _karras(high: float, low: float, count: int) -> list[float]:
    """Both ends are exact, so that a return ends where the way goes on."""
    ends = high ** (1 / RESTART_RHO), low ** (1 / RESTART_RHO)
    inner = (float(sigma) for sigma in np.linspace(*ends, count)[1:-1] ** RESTART_RHO)
    return [high, *inner, low]


def _nearest(sigmas: Sequence[float], wanted: float) -> int:
    return min(range(len(sigmas)), key=lambda place: abs(sigmas[place] - wanted))
