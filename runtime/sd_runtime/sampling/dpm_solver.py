"""Samplers that choose their own levels between the schedule's ends: DPM fast and DPM adaptive.

DPM-Solver (Lu et al. 2022, arXiv:2206.00927) in t = -log(sigma), where the noise prediction is integrated
with exponential weights. Both end at the least noise that the model was trained on, and leave it in.
"""

import math
from collections.abc import Generator

import torch

from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.walking import Course, Walk, split

#: Of `dpm_adaptive`: relative and absolute tolerance, the first step in t, and from which proposed growth on
#: an attempt is accepted. k-diffusion's defaults.
RELATIVE, ABSOLUTE = 0.05, 0.0078
FIRST_STEP = 0.05
ACCEPTED = 0.81
#: A step this small in t is accepted whatever its error: some estimates are too rough for any.
LEAST_STEP = 0.005
#: How close to the end in t is the end.
AT_END = 1e-5

Pair = Generator[tuple[torch.Tensor, float], Estimate, tuple[torch.Tensor, torch.Tensor]]
Slopes = Generator[tuple[torch.Tensor, float], Estimate, torch.Tensor]


def dpm_fast(x: torch.Tensor, course: Course) -> Walk:
    """As many evaluations as the schedule has steps, in solver steps of order 3 with a lower one or two at
    the end, evenly spaced in t."""
    evaluations = course.steps
    orders = _orders(evaluations)
    start, end = _ends(course)
    done = 0
    for number, order in enumerate(orders):
        t = start + (end - start) * number / len(orders)
        after = start + (end - start) * (number + 1) / len(orders)
        down, up = _split(t, after, end, course.eta)
        slope = yield from _slope(x, t)
        if order == 1:
            x = _first_order(x, slope, t, down)
        elif order == 2:
            _, x = yield from _second_order(x, slope, t, down, at=1 / 2)
        else:
            _, x = yield from _third_order(x, slope, t, down)
        if course.eta:
            x = x + course.noise(math.exp(-t), math.exp(-after)) * up
        done += order
        course.step_done(done)
    return x


def dpm_adaptive(x: torch.Tensor, course: Course) -> Walk:
    """Solver steps of order 3 as long as their distance from order 2 allows (the adaptive form of the paper's
    appendix). Steps are reported as the share of the way in t that is done."""
    start, end = _ends(course)
    t, step, before = start, FIRST_STEP, x
    slope: torch.Tensor | None = None
    while t < end - AT_END:
        after = min(end, t + step)
        down, up = _split(t, after, end, course.eta)
        if slope is None:
            slope = yield from _slope(x, t)
        low, high = yield from _third_order(x, slope, t, down)
        error = _error(low, high, before)
        if not math.isfinite(error):
            return high  # not a number any more, and nothing will make it one
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / (1.5 if course.eta else 3)) - 1)
        if factor >= ACCEPTED or step <= LEAST_STEP:
            x, before, slope = high, low, None
            if course.eta:
                x = x + course.noise(math.exp(-t), math.exp(-after)) * up
            t = after
            _report(course, (t - start) / (end - start))
        step = max(step * factor, LEAST_STEP)
    course.step_done(course.steps)
    return x


def _orders(evaluations: int) -> list[int]:
    threes, rest = divmod(evaluations, 3)
    if rest:
        return [3] * threes + [rest]
    return [3] * (threes - 1) + [2, 1]


def _ends(course: Course) -> tuple[float, float]:
    """Where the way begins and ends, in t. A schedule that begins below the model's range keeps its own
    end."""
    low = course.sigma_min if course.sigma_min < course.sigmas[0] else course.sigmas[0] / 2
    return -math.log(course.sigmas[0]), -math.log(low)


def _split(t: float, after: float, end: float, eta: float) -> tuple[float, float]:
    """The t to go to, not beyond the end, and the deviation of the noise that leads back to `after`."""
    if not eta:
        return after, 0.0
    down, _ = split(math.exp(-t), math.exp(-after), eta)
    lower = min(end, -math.log(down)) if down > 0 else end
    return lower, math.sqrt(max(math.exp(-2 * after) - math.exp(-2 * lower), 0.0))


def _slope(x: torch.Tensor, t: float) -> Slopes:
    """The noise that is seen in x: one evaluation."""
    sigma = math.exp(-t)
    return (x - (yield x, sigma).denoised) / sigma


def _first_order(x: torch.Tensor, slope: torch.Tensor, t: float, after: float) -> torch.Tensor:
    return x - slope * (math.exp(-after) * math.expm1(after - t))


def _second_order(x: torch.Tensor, slope: torch.Tensor, t: float, after: float, *, at: float) -> Pair:
    """The slope at the share `at` of the step, and x behind it (DPM-Solver-2)."""
    h = after - t
    middle = yield from _slope(_first_order(x, slope, t, t + at * h), t + at * h)
    weight = math.exp(-after) * math.expm1(h)
    return middle, x - slope * weight - (middle - slope) * (weight / (2 * at))


def _third_order(x: torch.Tensor, slope: torch.Tensor, t: float, after: float) -> Pair:
    """x behind the step by order 2 and by order 3 (DPM-Solver-3), which share their evaluations
    at a third of it."""
    h = after - t
    first, low = yield from _second_order(x, slope, t, after, at=1 / 3)
    place = t + 2 / 3 * h
    guess = _first_order(x, slope, t, place) - (first - slope) * (2 * math.exp(-place) * _phi(2 / 3 * h))
    second = yield from _slope(guess, place)
    high = _first_order(x, slope, t, after) - (second - slope) * (3 / 2 * math.exp(-after) * _phi(h))
    return low, high


def _phi(h: float) -> float:
    return math.expm1(h) / h - 1


def _error(low: torch.Tensor, high: torch.Tensor, before: torch.Tensor) -> float:
    """The distance of both orders in tolerances: 1 is what is allowed. The one number of all samplers that
    the host has to wait for: what is evaluated next depends on it."""
    allowed = (torch.maximum(low.abs(), before.abs()) * RELATIVE).clamp(min=ABSOLUTE)
    return float(torch.linalg.vector_norm((low - high) / allowed)) / math.sqrt(low.numel())


def _report(course: Course, share: float) -> None:
    """The last step is reported at the end alone."""
    done = min(int(share * course.steps), course.steps - 1)
    if done > 0:
        course.step_done(done)
