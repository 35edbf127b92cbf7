"""The noise levels a picture passes through: a descending list of sigmas that ends in 0, for each
schedule's name.

All on the host in double precision. The number of steps is the length minus one. It is what was asked, but
for `ddim`, which strides through whole timesteps (as in A1111), and where levels would be as good as equal.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.discrete import DiscreteSchedule
from sd_runtime.sampling import judging
from sd_runtime.sampling.settings import SamplingSettings

KARRAS_RHO = 7.0
POLYEXPONENTIAL_RHO = 1.0
#: LCM was distilled at every 20th timestep, 19 to 999 (arXiv:2310.04378).
LCM_LAST_TIMESTEP = 19
#: Levels closer than this share of themselves are one: no solver gains anything between them, and the
#: tree of Brownian noise has no depth for them.
LEAST_GAP = 1e-4

#: Levels optimised per family (Sabour et al. 2024, arXiv:2404.14507; published at
#: https://research.nvidia.com/labs/toronto-ai/AlignYourSteps/howto.html).
ALIGN_YOUR_STEPS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
ALIGN_YOUR_STEPS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
#: Families that take those, as in A1111: they go on with each other's latents.
_LIKE_SDXL = ("SDXL", "SDXLRefiner")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a schedule spaces its levels in."""

    discrete: DiscreteSchedule
    settings: SamplingSettings
    family: str

    @property
    def low(self) -> float:
        """The least sigma: as set, or the model's."""
        return self.settings.sigma_min or self.discrete.sigma_min

    @property
    def high(self) -> float:
        """The largest sigma: as set, or the model's."""
        return self.settings.sigma_max or self.discrete.sigma_max


def build(
    name: str,
    steps: int,
    discrete: DiscreteSchedule,
    settings: SamplingSettings | None = None,
    *,
    family: str = "SD15",
) -> list[float]:
    """The sigmas of schedule `name` (not `automatic`: `catalog.resolve_scheduler` comes first).

    `settings` narrows the range and bends the curve where the schedule has a say in it: `uniform`, `simple`,
    `ddim` and `align_your_steps` keep to the model's own. `family` is the model's (SD15, SD21, SDXL). Raises
    `UnsupportedError` for an unknown name and for numbers that no schedule has.
    """
    schedule = {**SCHEDULES, **OWN}.get(name)
    if schedule is None:
        raise UnsupportedError("scheduler", name, SCHEDULES)
    scope = Scope(discrete, settings or SamplingSettings(), family)
    _judge(scope)
    return _distinct([*(float(sigma) for sigma in schedule(steps, scope)), 0.0])


def karras(steps: int, scope: Scope) -> Floats:
    """Evenly spaced in sigma^(1/rho) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    rho = scope.settings.rho or KARRAS_RHO
    curve: Floats = np.linspace(scope.high ** (1 / rho), scope.low ** (1 / rho), steps) ** rho
    return curve


def exponential(steps: int, scope: Scope) -> Floats:
    """Evenly spaced in log(sigma)."""
    return np.exp(np.linspace(np.log(scope.high), np.log(scope.low), steps))


def polyexponential(steps: int, scope: Scope) -> Floats:
    """Polynomial of degree rho in log(sigma); A1111's default rho of 1 makes it `exponential`."""
    rho = scope.settings.rho or POLYEXPONENTIAL_RHO
    low, high = np.log(scope.low), np.log(scope.high)
    curve: Floats = np.exp(np.linspace(1, 0, steps) ** rho * (high - low) + low)
    return curve


def uniform(steps: int, scope: Scope) -> Floats:
    """Evenly spaced in t, both ends included."""
    return _at(np.linspace(len(scope.discrete.sigmas) - 1, 0, steps), scope)


def normal(steps: int, scope: Scope) -> Floats:
    """Evenly spaced in t between the timesteps of the largest and the smallest sigma, both included."""
    return _at(np.linspace(*_timesteps(scope), steps), scope)


def sgm_uniform(steps: int, scope: Scope) -> Floats:
    """Evenly spaced in t, without the last: the spacing of Stability's generative-models."""
    return _at(np.linspace(*_timesteps(scope), steps + 1)[:-1], scope)


def kl_optimal(steps: int, scope: Scope) -> Floats:
    """Evenly spaced in arctan(sigma), without the last (Sabour et al. 2024, arXiv:2404.14507)."""
    return np.tan(np.linspace(np.arctan(scope.high), np.arctan(scope.low), steps + 1)[:-1])


def align_your_steps(steps: int, scope: Scope) -> Floats:
    """The published levels; between them log(sigma) is linear. Only SD15's and SDXL's were ever found:
    SDXL's refiner takes SDXL's, other families SD15's, as in A1111."""
    levels = ALIGN_YOUR_STEPS_SDXL if scope.family in _LIKE_SDXL else ALIGN_YOUR_STEPS
    places = np.linspace(0, 1, len(levels))
    return np.exp(np.interp(np.linspace(0, 1, steps), places, np.log(levels)))


def simple(steps: int, scope: Scope) -> Floats:
    """Every n-th trained sigma, from the largest down."""
    stride = len(scope.discrete.sigmas) / steps
    return scope.discrete.sigmas[[-(1 + int(i * stride)) for i in range(steps)]]


def ddim(steps: int, scope: Scope) -> Floats:
    """Every n-th trained sigma from t = 1 up, n rounded down: one step more than asked where it does not
    divide.
    """
    stride = max(len(scope.discrete.sigmas) // steps, 1)
    return scope.discrete.sigmas[1::stride][::-1]


def beta(steps: int, scope: Scope) -> Floats:
    """Quantiles of the beta distribution (Lee et al. 2024, arXiv:2407.12173), spread over sigma as A1111
    does.
    """
    shape = scope.settings.beta_alpha, scope.settings.beta_beta
    quantiles: Floats = betaincinv(*shape, 1 - np.linspace(0, 1, steps))
    return quantiles * (scope.high - scope.low) + scope.low


def lcm(steps: int, scope: Scope) -> Floats:
    """Evenly spaced in t over the timesteps that LCM was distilled at, both ends included."""
    ends = len(scope.discrete.sigmas) - 1, LCM_LAST_TIMESTEP
    return _at(np.linspace(*ends, steps), scope)


def _timesteps(scope: Scope) -> tuple[float, float]:
    return scope.discrete.timestep(scope.high), scope.discrete.timestep(scope.low)


def _at(timesteps: Floats, scope: Scope) -> Floats:
    return np.array([scope.discrete.sigma(float(t)) for t in timesteps])


def _judge(scope: Scope) -> None:
    judging.judge(scope.settings)
    # One of them set, the other the model's.
    if not 0 < scope.low < scope.high:
        field = "sigma_min" if scope.settings.sigma_min else "sigma_max"
        value = scope.low if scope.settings.sigma_min else scope.high
        raise UnsupportedError(
            field,
            value,
            f"within the model's {scope.discrete.sigma_min:.4g} to {scope.discrete.sigma_max:.4g}",
        )


def _distinct(sigmas: list[float]) -> list[float]:
    """Without levels that are as good as the one before."""
    kept = sigmas[:1]
    kept.extend(after for after in sigmas[1:] if after < kept[-1] * (1 - LEAST_GAP))
    return kept


Spacing = Callable[[int, Scope], Floats]

SCHEDULES: dict[str, Spacing] = {
    "uniform": uniform,
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "sgm_uniform": sgm_uniform,
    "kl_optimal": kl_optimal,
    "align_your_steps": align_your_steps,
    "simple": simple,
    "normal": normal,
    "ddim": ddim,
    "beta": beta,
}

#: Spacings that only a sampler's `automatic` means.
OWN: dict[str, Spacing] = {"lcm": lcm}
