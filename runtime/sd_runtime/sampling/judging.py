"""Refuses numbers that no solver takes, before any work is done. Importable without torch."""

import math

from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling.settings import SamplingSettings

#: How UniPC's B(h) may be chosen.
UNIPC_VARIANTS = ("bh1", "bh2")


def judge(settings: SamplingSettings) -> None:
    """Raises `UnsupportedError` for the first number that is out of its range."""
    for field in ("eta", "s_churn", "s_tmin", "s_noise", "sigma_min", "sigma_max", "rho"):
        value = getattr(settings, field)
        if value is not None and not 0 <= value < math.inf:
            raise UnsupportedError(field, value, "0 or more")
    if not settings.s_tmax >= 0:
        raise UnsupportedError("s_tmax", settings.s_tmax, "0 or more")
    for field in ("beta_alpha", "beta_beta"):
        value = getattr(settings, field)
        if not 0 < value < math.inf:
            raise UnsupportedError(field, value, "more than 0")
    if settings.sigma_max and not settings.sigma_min < settings.sigma_max:
        raise UnsupportedError("sigma_min", settings.sigma_min, f"less than sigma_max, {settings.sigma_max}")
    if settings.unipc_variant not in UNIPC_VARIANTS:
        raise UnsupportedError("unipc_variant", settings.unipc_variant, UNIPC_VARIANTS)
    if settings.unipc_order < 1:
        raise UnsupportedError("unipc_order", settings.unipc_order, "1 or more")
