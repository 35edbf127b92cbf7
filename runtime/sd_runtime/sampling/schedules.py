"""The noise levels a picture passes through: a descending list of sigmas that ends in 0, for each
schedule's name.

All on the host in double precision. The number of steps is the length minus one; only `ddim` may differ
from what was asked, because it strides through whole timesteps (as in A1111).
"""

from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.discrete import DiscreteSchedule

KARRAS_RHO = 7.0
POLYEXPONENTIAL_RHO = 1.0
BETA_SHAPE = 0.6


def build(name: str, steps: int, discrete: DiscreteSchedule) -> list[float]:
    """The sigmas of schedule `name` (not `automatic`: `catalog.resolve_scheduler` comes first)."""
    schedule = SCHEDULES.get(name)
    if schedule is None:
        raise UnsupportedError("scheduler", name, SCHEDULES)
    return [*schedule(steps, discrete), 0.0]


def karras(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Evenly spaced in sigma^(1/rho) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    ends = discrete.sigma_max ** (1 / KARRAS_RHO), discrete.sigma_min ** (1 / KARRAS_RHO)
    return _floats(np.linspace(*ends, steps) ** KARRAS_RHO)


def exponential(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Evenly spaced in log(sigma)."""
    return _floats(np.exp(np.linspace(np.log(discrete.sigma_max), np.log(discrete.sigma_min), steps)))


def polyexponential(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Polynomial of degree rho in log(sigma); A1111's default rho of 1 makes it `exponential`."""
    low, high = np.log(discrete.sigma_min), np.log(discrete.sigma_max)
    return _floats(np.exp(np.linspace(1, 0, steps) ** POLYEXPONENTIAL_RHO * (high - low) + low))


def uniform(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Evenly spaced in t, both ends included."""
    return [discrete.sigma(t) for t in np.linspace(len(discrete.sigmas) - 1, 0, steps)]


def normal(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Evenly spaced in t between the timesteps of the largest and the smallest sigma: here the same as
    `uniform`.
    """
    ends = discrete.timestep(discrete.sigma_max), discrete.timestep(discrete.sigma_min)
    return [discrete.sigma(t) for t in np.linspace(*ends, steps)]


def sgm_uniform(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Evenly spaced in t, without the last: the spacing of Stability's generative-models."""
    ends = discrete.timestep(discrete.sigma_max), discrete.timestep(discrete.sigma_min)
    return [discrete.sigma(t) for t in np.linspace(*ends, steps + 1)[:-1]]


def simple(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Every n-th trained sigma, from the largest down."""
    stride = len(discrete.sigmas) / steps
    return _floats(discrete.sigmas[[-(1 + int(i * stride)) for i in range(steps)]])


def ddim(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Every n-th trained sigma from t = 1 up, n rounded down: one step more than asked where it does not
    divide.
    """
    stride = max(len(discrete.sigmas) // steps, 1)
    return _floats(discrete.sigmas[1::stride][::-1])


def beta(steps: int, discrete: DiscreteSchedule) -> list[float]:
    """Quantiles of the beta distribution (Lee et al. 2024, arXiv:2407.12173), spread over sigma as A1111
    does.
    """
    quantiles = betaincinv(BETA_SHAPE, BETA_SHAPE, 1 - np.linspace(0, 1, steps))
    return _floats(discrete.sigma_min + quantiles * (discrete.sigma_max - discrete.sigma_min))


def _floats(values: "np.typing.NDArray[np.float64]") -> list[float]:
    return [float(value) for value in values]


SCHEDULES: dict[str, Callable[[int, DiscreteSchedule], list[float]]] = {
    "uniform": uniform,
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "sgm_uniform": sgm_uniform,
    "simple": simple,
    "normal": normal,
    "ddim": ddim,
    "beta": beta,
}
