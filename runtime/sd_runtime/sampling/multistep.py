"""Linear multistep samplers, which remember slopes: LMS and PLMS."""

from collections import deque
from collections.abc import Sequence

import torch
from numpy.polynomial import Polynomial

from sd_runtime.sampling.walking import Course, Walk

ORDER = 4
#: Of Adams and Bashforth for equal steps, the newest slope first, by the number of slopes.
ADAMS_BASHFORTH = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def lms(x: torch.Tensor, course: Course) -> Walk:
    """The linear multistep method of order 4: the slope's polynomial through the last levels, integrated over
    the step exactly."""
    slopes: deque[torch.Tensor] = deque(maxlen=ORDER)
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        slopes.appendleft((x - denoised) / sigma)
        levels = course.sigmas[max(number - ORDER, 0) : number]
        for weight, slope in zip(_weights(levels[::-1], after), slopes, strict=True):
            x = x + slope * weight
        course.step_done(number)
    return x


def plms(x: torch.Tensor, course: Course) -> Walk:
    """Pseudo linear multistep (Liu et al. 2022, arXiv:2202.09778): the weights of equal steps, whatever the
    steps are, and a pseudo Heun step, of two evaluations, to begin with."""
    slopes: deque[torch.Tensor] = deque(maxlen=ORDER)
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        slope = (x - denoised) / sigma
        slopes.appendleft(slope)
        if len(slopes) > 1:
            slope = sum(
                (past * weight for past, weight in zip(slopes, ADAMS_BASHFORTH[len(slopes)], strict=True)),
                torch.zeros_like(slope),
            )
        elif after > 0:
            guess = x + slope * (after - sigma)
            denoised = (yield guess, after).denoised
            slope = (slope + (guess - denoised) / after) / 2
        x = x + slope * (after - sigma)
        course.step_done(number)
    return x


def _weights(levels: Sequence[float], after: float) -> list[float]:
    """What each level's slope weighs in the step from `levels[0]` to `after`: the integral of its Lagrange
    polynomial. In units of the step, where the powers stay small."""
    start, width = levels[0], after - levels[0]
    places = [(level - start) / width for level in levels]
    weights = []
    for own, place in enumerate(places):
        lagrange = Polynomial([1.0])
        for other in (*places[:own], *places[own + 1 :]):
            lagrange *= Polynomial([-other, 1.0]) / (place - other)
        whole = lagrange.integ()
        weights.append(float(whole(1.0) - whole(0.0)) * width)
    return weights
