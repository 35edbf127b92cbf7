import itertools

import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.discrete import DiscreteSchedule, scaled_linear
from sd_runtime.sampling import schedules
from sd_runtime.sampling.settings import SamplingSettings

# diffusers 0.42 hands torch tensors to numpy 2 in a way numpy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# linspace(0, 999, 28) hits whole timesteps, where every way of interpolating agrees.
STEPS = 28
KEEP_THE_MODELS_RANGE = {"uniform", "simple", "ddim", "align_your_steps"}
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


@pytest.mark.parametrize("name", [*schedules.SCHEDULES, *schedules.OWN])
@pytest.mark.parametrize("steps", [1, 2, 7, 30, 150, 1500])
def test_a_schedule_descends_within_the_trained_range_and_ends_in_zero(
    discrete: DiscreteSchedule, name: str, steps: int
) -> None:
    sigmas = schedules.build(name, steps, discrete)
    assert sigmas[-1] == 0
    assert all(before > after for before, after in itertools.pairwise(sigmas))
    # Published levels have three digits.
    assert discrete.sigma_min * 0.99 < sigmas[-2] and sigmas[0] < discrete.sigma_max * 1.001


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
        ("lcm", [999, 2017 / 3, 1037 / 3, 19]),
    ],
)
def test_the_timesteps_of_four_steps(discrete: DiscreteSchedule, name: str, timesteps: list[float]) -> None:
    sigmas = schedules.build(name, 4, discrete)[:-1]
    assert [discrete.timestep(sigma) for sigma in sigmas] == pytest.approx(timesteps)


def test_ddim_takes_one_step_more_where_the_stride_does_not_divide(discrete: DiscreteSchedule) -> None:
    assert len(schedules.build("ddim", 30, discrete)) - 1 == 31


def test_a_schedule_of_one_step_begins_at_its_largest_sigma(discrete: DiscreteSchedule) -> None:
    for name in {*schedules.SCHEDULES} - {"ddim"}:
        assert schedules.build(name, 1, discrete)[0] == pytest.approx(discrete.sigma_max, rel=1e-4)


def test_kl_optimal_is_evenly_spaced_in_arctan(discrete: DiscreteSchedule) -> None:
    angles = np.arctan(schedules.build("kl_optimal", 10, discrete)[:-1])
    assert np.diff(angles) == pytest.approx((np.arctan(discrete.sigma_min) - angles[0]) / 10)


@pytest.mark.parametrize(
    ("family", "second"), [("SD15", 6.475), ("SD21", 6.475), ("SDXL", 6.315), ("SDXLRefiner", 6.315)]
)
def test_align_your_steps_takes_the_published_levels_of_the_family(
    discrete: DiscreteSchedule, family: str, second: float
) -> None:
    sigmas = schedules.build("align_your_steps", 11, discrete, family=family)
    assert (len(sigmas), sigmas[0], sigmas[1], sigmas[-2]) == (
        12,
        *map(pytest.approx, (14.615, second, 0.029)),
    )


def test_between_the_published_levels_log_sigma_is_linear(discrete: DiscreteSchedule) -> None:
    sigmas = schedules.build("align_your_steps", 21, discrete)
    assert sigmas[1] == pytest.approx((14.615 * 6.475) ** 0.5)


@pytest.mark.parametrize(
    ("name", "obeys"), [(name, name not in KEEP_THE_MODELS_RANGE) for name in schedules.SCHEDULES]
)
def test_a_set_range_is_kept_to_by_the_schedules_that_know_one(
    discrete: DiscreteSchedule, name: str, obeys: bool
) -> None:
    settings = SamplingSettings(sigma_min=0.1, sigma_max=8.0)
    sigmas = schedules.build(name, 20, discrete, settings)
    assert (sigmas != schedules.build(name, 20, discrete)) == obeys
    if obeys:
        assert sigmas[0] == pytest.approx(8.0) and sigmas[-2] >= 0.1 * 0.999


@pytest.mark.parametrize(
    ("name", "obeys"),
    [(name, name in ("karras", "polyexponential")) for name in schedules.SCHEDULES],
)
def test_rho_bends_the_schedules_that_have_one(discrete: DiscreteSchedule, name: str, obeys: bool) -> None:
    bent = schedules.build(name, 9, discrete, SamplingSettings(rho=3.0))
    assert (bent != schedules.build(name, 9, discrete)) == obeys


def test_betas_shape_is_the_settings(discrete: DiscreteSchedule) -> None:
    # Of alpha = beta = 1 every quantile is itself.
    sigmas = schedules.build("beta", 5, discrete, SamplingSettings(beta_alpha=1.0, beta_beta=1.0))
    assert np.diff(sigmas[:-1]) == pytest.approx((discrete.sigma_min - discrete.sigma_max) / 4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("polyexponential", {"rho": 30.0}), ("beta", {"beta_alpha": 0.05, "beta_beta": 0.05})],
)
def test_levels_that_are_as_good_as_equal_are_one(
    discrete: DiscreteSchedule, name: str, settings: dict[str, float]
) -> None:
    sigmas = schedules.build(name, 30, discrete, SamplingSettings(**settings))
    assert 5 < len(sigmas) < 31
    assert all(after < before * 0.9999 for before, after in itertools.pairwise(sigmas))


def test_an_unknown_schedule_is_refused_by_name(discrete: DiscreteSchedule) -> None:
    with pytest.raises(UnsupportedError, match="turbo"):
        schedules.build("turbo", 10, discrete)


@pytest.mark.parametrize(("field", "value"), [("sigma_min", 20.0), ("sigma_max", 0.01)])
def test_a_range_that_is_empty_is_refused_by_name(
    discrete: DiscreteSchedule, field: str, value: float
) -> None:
    with pytest.raises(UnsupportedError, match=rf"^{field}: {value}"):
        schedules.build("karras", 10, discrete, SamplingSettings(**{field: value}))
