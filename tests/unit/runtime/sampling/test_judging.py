import math
from typing import Any

import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling import judging
from sd_runtime.sampling.settings import SamplingSettings


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"eta": 0.0, "s_churn": 10.0, "s_tmin": 1.0, "s_tmax": 5.0, "s_noise": 0.0},
        {"eta": 2.0, "rho": 7.0, "sigma_min": 0.1, "sigma_max": 1.0},
        {"sigma_min": 0.1},
        {"unipc_variant": "bh2", "unipc_order": 1},
    ],
)
def test_usual_numbers_pass(settings: dict[str, Any]) -> None:
    judging.judge(SamplingSettings(**settings))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("eta", -0.1),
        ("eta", math.nan),
        ("eta", math.inf),
        ("s_churn", -1.0),
        ("s_tmin", math.nan),
        ("s_tmax", -1.0),
        ("s_tmax", math.nan),
        ("s_noise", math.inf),
        ("sigma_min", -1.0),
        ("sigma_max", math.inf),
        ("rho", -7.0),
        ("beta_alpha", 0.0),
        ("beta_beta", math.nan),
        ("unipc_variant", "vary_coeff"),
        ("unipc_order", 0),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(UnsupportedError) as caught:
        judging.judge(SamplingSettings(**{field: value}))  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.value) == (field, value)


def test_an_empty_range_of_sigmas_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"sigma_min: 2\.0 .* less than sigma_max, 1.0"):
        judging.judge(SamplingSettings(sigma_min=2.0, sigma_max=1.0))
