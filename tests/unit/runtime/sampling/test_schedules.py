import itertools

import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.discrete import DiscreteSchedule, scaled_linear
from sd_runtime.sampling import schedules

# diffusers 0.42 hands torch tensors to numpy 2 in a way numpy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# linspace(0, 999, 28) hits whole timesteps, where every way of interpolating agrees.
STEPS = 28
SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "linspace",
}


@pytest.fixture(scope="module")
def discrete() -> DiscreteSchedule:
    return scaled_linear(start=0.00085, end=0.012)


def test_the_trained_range_is_stable_diffusions(discrete: DiscreteSchedule) -> None:
    assert discrete.sigma_min == pytest.approx(0.0292, abs=5e-5)
    assert discrete.sigma_max == pytest.approx(14.6146, abs=5e-5)


@pytest.mark.parametrize("timestep", [0, 1, 250.5, 998.9, 999])
def test_timestep_and_sigma_are_inverse(discrete: DiscreteSchedule, timestep: float) -> None:
    assert discrete.timestep(discrete.sigma(timestep)) == pytest.approx(timestep)


def test_between_two_timesteps_log_sigma_is_linear(discrete: DiscreteSchedule) -> None:
    assert discrete.sigma(500.5) == pytest.approx(np.sqrt(discrete.sigmas[500] * discrete.sigmas[501]))


@pytest.mark.parametrize(("sigma", "timestep"), [(100.0, 999), (0.001, 0)])
def test_outside_of_the_trained_range_the_nearest_timestep_counts(
    discrete: DiscreteSchedule, sigma: float, timestep: float
) -> None:
    assert discrete.timestep(sigma) == timestep


@pytest.mark.parametrize("name", schedules.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_a_schedule_descends_within_the_trained_range_and_ends_in_zero(
    discrete: DiscreteSchedule, name: str, steps: int
) -> None:
    sigmas = schedules.build(name, steps, discrete)
    assert sigmas[-1] == 0
    assert all(before > after for before, after in itertools.pairwise(sigmas))
    assert discrete.sigma_min * 0.999 < sigmas[-2] and sigmas[0] < discrete.sigma_max * 1.001


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("karras", {"use_karras_sigmas": True}),
        ("exponential", {"use_exponential_sigmas": True}),
        ("polyexponential", {"use_exponential_sigmas": True}),
        ("beta", {"use_beta_sigmas": True}),
        ("uniform", {}),
        ("normal", {}),
    ],
)
def test_the_sigmas_equal_those_of_diffusers(
    discrete: DiscreteSchedule, name: str, flags: dict[str, bool]
) -> None:
    reference = EulerDiscreteScheduler(**SD, **flags)
    reference.set_timesteps(STEPS)
    assert schedules.build(name, STEPS, discrete) == pytest.approx(reference.sigmas.tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "timesteps"),
    [
        ("sgm_uniform", [999, 749.25, 499.5, 249.75]),
        ("simple", [999, 749, 499, 249]),
        ("ddim", [751, 501, 251, 1]),
        ("uniform", [999, 666, 333, 0]),
    ],
)
def test_the_timesteps_of_four_steps(discrete: DiscreteSchedule, name: str, timesteps: list[float]) -> None:
    sigmas = schedules.build(name, 4, discrete)[:-1]
    assert [discrete.timestep(sigma) for sigma in sigmas] == pytest.approx(timesteps)


def test_ddim_takes_one_step_more_where_the_stride_does_not_divide(discrete: DiscreteSchedule) -> None:
    assert len(schedules.build("ddim", 30, discrete)) - 1 == 31


def test_an_unknown_schedule_is_refused_by_name(discrete: DiscreteSchedule) -> None:
    with pytest.raises(UnsupportedError, match="kl_optimal"):
        schedules.build("kl_optimal", 10, discrete)
