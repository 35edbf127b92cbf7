"""UniPC (Zhao et al. 2023, arXiv:2302.04867): a multistep predictor whose every step is corrected with the
evaluation that the next one needs anyway. For the estimate of the picture, in lambda = -log(sigma).
"""

import math

import numpy as np
import torch

from sd_runtime.sampling.walking import Course, Walk, towards

#: Estimates and the lambdas they were made at, oldest first.
History = list[tuple[float, torch.Tensor]]


def unipc(x: torch.Tensor, course: Course) -> Walk:
    """Order and variant of B(h) are the settings'. The last step, to 0, is of order 1: 0 has no lambda."""
    settings = course.settings
    step: _Step | None = None
    history: History = []
    for number, sigma, after in course.pairs():
        denoised = (yield x, sigma).denoised
        if step is not None:
            x = step.corrected(denoised)
        history = [*history, (-math.log(sigma), denoised)][-settings.unipc_order :]
        if after == 0:
            x = denoised
        else:
            order = min(settings.unipc_order, len(history))
            if settings.unipc_lower_order_final:
                order = min(order, course.steps - number + 1)
            step = _Step(x, history[-order:], after, settings.unipc_variant)
            x = step.predicted()
        course.step_done(number)
    return x


class _Step:
    """One step from the newest level of `history`; its length is the order."""

    def __init__(self, x: torch.Tensor, history: History, after: float, variant: str) -> None:
        start, newest = history[-1]
        self._newest = newest
        self._first_order = towards(x, newest, math.exp(-start), after)
        h = -math.log(after) - start
        past = [((level - start) / h, estimate) for level, estimate in reversed(history[:-1])]
        self._differences = [(estimate - newest) / place for place, estimate in past]
        self._places = np.array([*(place for place, _ in past), 1.0])
        self._h = -h
        self._scale = -h if variant == "bh1" else math.expm1(-h)

    def predicted(self) -> torch.Tensor:
        """x behind the step, from what is known before it."""
        places = self._places[:-1]
        # Of order 2 the paper takes 1/2 for all h.
        weights = [0.5] if len(places) == 1 else self._weights(places)
        return self._moved(weights, self._differences)

    def corrected(self, denoised: torch.Tensor) -> torch.Tensor:
        """The same with the estimate that was made of `predicted`."""
        weights = [0.5] if len(self._places) == 1 else self._weights(self._places)
        return self._moved(weights, [*self._differences, denoised - self._newest])

    def _moved(self, weights: list[float], differences: list[torch.Tensor]) -> torch.Tensor:
        x = self._first_order
        for weight, difference in zip(weights, differences, strict=True):
            x = x - difference * (self._scale * weight)
        return x

    def _weights(self, places: "np.typing.NDArray[np.float64]") -> list[float]:
        """The solution of R a = b (the paper's condition for the order), of as many rows as there are
        places."""
        count = len(places)
        phi, factorial, wanted = math.expm1(self._h) / self._h - 1, 1, []
        for row in range(1, count + 1):
            wanted.append(phi * factorial / self._scale)
            factorial *= row + 1
            phi = phi / self._h - 1 / factorial
        powers = np.vander(places, count, increasing=True).T
        return [float(weight) for weight in np.linalg.solve(powers, wanted)]
