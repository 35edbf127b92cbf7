"""What every sampler is given and gives: the vocabulary of the modules beside it.

A sampler is a generator. It yields (x, sigma), is sent the `Estimate` for them, and returns the finished
latents. So it never sees the network, the prompt or other pictures, and one of second order just asks twice a
step. x is in k-diffusion's scale: clean latents plus sigma times unit noise, (1, C, H, W), float32.
Coefficients are Python floats on the host.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.noise import Draw
from sd_runtime.sampling.settings import SamplingSettings

Walk = Generator[tuple[torch.Tensor, float], Estimate, torch.Tensor]
StepDone = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The way a picture goes."""

    #: Descending; ends in 0.
    sigmas: Sequence[float]
    #: The least noise that the model was trained on: where solvers in log(sigma) end.
    sigma_min: float
    draw: Draw
    #: Called with the number of steps that are done, after each.
    step_done: StepDone
    settings: SamplingSettings
    #: The share of fresh noise, 0 to 1; `settings.eta` may leave it open.
    eta: float

    @property
    def steps(self) -> int:
        """Of the schedule."""
        return len(self.sigmas) - 1

    def pairs(self) -> Iterator[tuple[int, float, float]]:
        """Number, sigma and next sigma of each step, counted from 1."""
        for number, (sigma, after) in enumerate(pairwise(self.sigmas), 1):
            yield number, sigma, after

    def noise(self, sigma: float, after: float) -> torch.Tensor:
        """Fresh noise for the way from one sigma to a lower one, of deviation s_noise."""
        return self.draw(sigma, after) * self.settings.s_noise


Sampler = Callable[[torch.Tensor, Course], Walk]


def towards(x: torch.Tensor, denoised: torch.Tensor, sigma: float, after: float) -> torch.Tensor:
    """Straight on from sigma to another: Euler's step of dx/dsigma = (x - denoised) / sigma, which is also
    the first-order step of DPM-Solver++."""
    return x + (x - denoised) * ((after - sigma) / sigma)


def split(sigma: float, after: float, eta: float) -> tuple[float, float]:
    """The sigma to go down to, and the deviation of the fresh noise that leads up to `after` again: with an
    eta of 1 the variance of DDPM's posterior (Ho et al. 2020, arXiv:2006.11239)."""
    up = min(after, eta * after * math.sqrt(sigma**2 - after**2) / sigma)
    return math.sqrt(after**2 - up**2), up


def churned(x: torch.Tensor, sigma: float, course: Course) -> tuple[torch.Tensor, float]:
    """x with noise added before a step, and its new sigma (Karras et al. 2022, arXiv:2206.00364, algorithm 2:
    s_churn, s_tmin, s_tmax)."""
    settings = course.settings
    if settings.s_churn <= 0:
        return x, sigma
    # Drawn in every step, used or not, as k-diffusion does: what follows does not depend on the range.
    noise = course.noise(sigma, sigma)
    if not settings.s_tmin <= sigma <= settings.s_tmax:
        return x, sigma
    raised = sigma * (1 + min(settings.s_churn / course.steps, math.sqrt(2) - 1))
    return x + noise * math.sqrt(raised**2 - sigma**2), raised
