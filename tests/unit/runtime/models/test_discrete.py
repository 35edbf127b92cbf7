import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler

from sd_runtime.models import discrete


def schedule(*, zero_terminal: bool = False) -> discrete.DiscreteSchedule:
    return discrete.scaled_linear(start=0.00085, end=0.012, zero_terminal=zero_terminal)


@pytest.mark.parametrize("zero_terminal", [False, True])
def test_the_levels_are_those_of_diffusers(zero_terminal: bool) -> None:
    theirs = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=zero_terminal,
    ).alphas_cumprod.double()
    ours = 1 / (1 + np.square(schedule(zero_terminal=zero_terminal).sigmas))
    # The last one of pure noise is a number that stands for nought.
    assert np.allclose(ours[:-1], theirs[:-1], atol=1e-5)


def test_the_greatest_noise_is_that_of_stable_diffusion() -> None:
    assert schedule().sigma_max == pytest.approx(14.6146, abs=1e-4)


def test_the_last_level_may_be_pure_noise_and_the_first_stays() -> None:
    assert schedule(zero_terminal=True).sigma_max == pytest.approx(4518.77, abs=0.01)
    assert schedule(zero_terminal=True).sigma_min == pytest.approx(schedule().sigma_min)


@pytest.mark.parametrize("zero_terminal", [False, True])
@pytest.mark.parametrize("timestep", [0.0, 0.5, 500.25, 999.0])
def test_sigma_and_timestep_are_inverse(timestep: float, zero_terminal: bool) -> None:
    levels = schedule(zero_terminal=zero_terminal)
    assert levels.timestep(levels.sigma(timestep)) == pytest.approx(timestep, abs=1e-6)
