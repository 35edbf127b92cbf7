"""DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095): solvers for the estimate of the picture.

In lambda = -log(sigma), where it is integrated with exponential weights.

Multistep (2M, 2M SDE, 3M SDE) and singlestep (2S a, SDE). What the paper leaves open of the SDE forms is
k-diffusion's: fresh noise by an eta of its own, and phi functions for their third order.
"""

import math

import torch

from sd_runtime.sampling.walking import Course, Walk, split, towards


def dpmpp_2m(x: torch.Tensor, course: Course) -> Walk:
    """DPM-Solver++(2M) (algorithm 2), first and last step of order 1."""
    previous: torch.Tensor | None = None
    h_previous = 0.0
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        if after == 0:
            x = denoised
        else:
            h = math.log(sigma / after)
            estimate = denoised
            if previous is not None:
                estimate = denoised + (denoised - previous) * (h / (2 * h_previous))
            x = towards(x, estimate, sigma, after)
            previous, h_previous = denoised, h
        course.step_done(number)
    return x


def dpmpp_2s_ancestral(x: torch.Tensor, course: Course) -> Walk:
    """DPM-Solver++(2S) (algorithm 1) to a lower sigma than the next, then fresh noise up to it."""
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        down, up = split(sigma, after, course.eta)
        if down > 0:
            middle = math.sqrt(sigma * down)
            denoised = (yield towards(x, denoised, sigma, middle), middle).denoised
        x = towards(x, denoised, sigma, down)
        if after > 0:
            x = x + course.noise(sigma, after) * up
        course.step_done(number)
    return x


def dpmpp_sde(x: torch.Tensor, course: Course) -> Walk:
    """The stochastic singlestep solver: to the middle with fresh noise, then the whole step with the estimate
    that was made there."""
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        if after > 0:
            middle = math.sqrt(sigma * after)
            down, up = split(sigma, middle, course.eta)
            guess = towards(x, denoised, sigma, down)
            if up > 0:
                guess = guess + course.noise(sigma, middle) * up
            denoised = (yield guess, middle).denoised
        down, up = split(sigma, after, course.eta)
        x = towards(x, denoised, sigma, down)
        if up > 0:
            x = x + course.noise(sigma, after) * up
        course.step_done(number)
    return x


def dpmpp_2m_sde(x: torch.Tensor, course: Course) -> Walk:
    """SDE-DPM-Solver++(2M) (of the paper's appendix), the second order by the midpoint."""
    return _second_order_sde(x, course, heun=False)


def dpmpp_2m_sde_heun(x: torch.Tensor, course: Course) -> Walk:
    """SDE-DPM-Solver++(2M), the second order by Heun's weights."""
    return _second_order_sde(x, course, heun=True)


def dpmpp_3m_sde(x: torch.Tensor, course: Course) -> Walk:
    """The third-order multistep form: as many orders as there are estimates before this one."""
    # Newest first, each with the width of the step that followed it.
    past: list[tuple[torch.Tensor, float]] = []
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        if after == 0:
            x = denoised
        else:
            h = math.log(sigma / after)
            x = _damped(x, denoised, h, course.eta)
            x = x + _higher_orders(denoised, past, h, h * (1 + course.eta))
            x = _renoised(x, course, sigma, after)
            past = [(denoised, h), *past[:1]]
        course.step_done(number)
    return x


def _second_order_sde(x: torch.Tensor, course: Course, *, heun: bool) -> Walk:
    previous: torch.Tensor | None = None
    h_previous = 0.0
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        if after == 0:
            x = denoised
        else:
            h = math.log(sigma / after)
            x = _damped(x, denoised, h, course.eta)
            if previous is not None:
                whole = h * (1 + course.eta)
                weight = 1 + math.expm1(-whole) / whole if heun else -math.expm1(-whole) / 2
                x = x + (denoised - previous) * (weight * h / h_previous)
            x = _renoised(x, course, sigma, after)
            previous, h_previous = denoised, h
        course.step_done(number)
    return x


def _damped(x: torch.Tensor, denoised: torch.Tensor, h: float, eta: float) -> torch.Tensor:
    """The first-order step by h in lambda, further down by what fresh noise will add."""
    return denoised + (x - denoised) * math.exp(-h * (1 + eta))


def _renoised(x: torch.Tensor, course: Course, sigma: float, after: float) -> torch.Tensor:
    if not course.eta:
        return x
    h = math.log(sigma / after)
    return x + course.noise(sigma, after) * (after * math.sqrt(-math.expm1(-2 * course.eta * h)))


def _higher_orders(
    denoised: torch.Tensor, past: list[tuple[torch.Tensor, float]], h: float, whole: float
) -> torch.Tensor:
    """What the first and second derivative of the estimate add to a step by h, damped by `whole`."""
    if not past:
        return torch.zeros_like(denoised)
    phi_2 = 1 + math.expm1(-whole) / whole
    (one, h_one), *older = past
    r_one = h_one / h
    newer_slope = (denoised - one) / r_one
    if not older:
        return newer_slope * phi_2
    two, h_two = older[0]
    r_two = h_two / h
    bend = (newer_slope - (one - two) / r_two) / (r_one + r_two)
    return (newer_slope + bend * r_one) * phi_2 - bend * (phi_2 / whole - 0.5)
