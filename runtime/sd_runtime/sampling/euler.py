"""Samplers of one evaluation a step and no memory: Euler, Euler a, DDIM, DDIM CFG++, LCM."""

import torch

from sd_runtime.sampling.walking import Course, Walk, churned, split, towards


def euler(x: torch.Tensor, course: Course) -> Walk:
    """Euler steps of the probability-flow ODE dx/dsigma = (x - D(x)) / sigma (Karras et al. 2022,
    arXiv:2206.00364, algorithm 2 without the correction).
    """
    for number, sigma, after in course.pairs():
        x, sigma = churned(x, sigma, course)
        denoised = (yield x, sigma).denoised
        x = towards(x, denoised, sigma, after)
        course.step_done(number)
    return x


def euler_ancestral(x: torch.Tensor, course: Course) -> Walk:
    """Euler to a lower sigma than the next, then fresh noise up to it; with an eta of 1 DDPM's posterior.

    This is DDIM too (Song et al. 2020, arXiv:2010.02502, eq. 12 and 16), written in sigma and x /
    sqrt(alpha).
    """
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        down, up = split(sigma, after, course.eta)
        x = towards(x, denoised, sigma, down)
        if up > 0:
            x = x + course.noise(sigma, after) * up
        course.step_done(number)
    return x


def ddim_cfgpp(x: torch.Tensor, course: Course) -> Walk:
    """CFG++ (Chung et al. 2024, arXiv:2406.08070, algorithm 2): the guided estimate, noised again with the
    noise that the negative prompt alone saw in x. Its guidance is a share, 0 to 1.
    """
    for number, sigma, after in course.pairs():
        estimate = yield x, sigma
        unguided = estimate.denoised if estimate.unguided is None else estimate.unguided
        down, up = split(sigma, after, course.eta)
        x = estimate.denoised + (x - unguided) * (down / sigma)
        if up > 0:
            x = x + course.noise(sigma, after) * up
        course.step_done(number)
    return x


def lcm(x: torch.Tensor, course: Course) -> Walk:
    """Multistep sampling of a consistency model (Luo et al. 2023, arXiv:2310.04378, algorithm 3): to the
    estimate, then fresh noise up to the next sigma.

    The boundary condition's weight of x is left out: it is below 1e-5 at every timestep LCM was distilled at.
    """
    for number, sigma, after in course.pairs():
        x = (yield x, sigma).denoised
        if after > 0:
            x = x + course.noise(sigma, after) * after
        course.step_done(number)
    return x
