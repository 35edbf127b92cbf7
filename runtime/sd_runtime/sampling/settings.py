"""What a picture's sampling may differ in beyond sampler, schedule and steps: plain data, importable without
torch. Names and defaults are those of A1111's options.
"""

import math
from dataclasses import dataclass
from enum import StrEnum


class NoiseSource(StrEnum):
    """Which generator the noise comes from (A1111's option `randn_source`)."""

    #: torch's generator of the processor: the same on every device.
    CPU = "CPU"
    #: What torch's generator on NVIDIA's GPUs (Philox) draws, computed on the host.
    NV = "NV"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSettings:
    """The noise of one picture."""

    seed: int
    source: NoiseSource = NoiseSource.CPU
    subseed: int = 0
    #: 0: the seed's noise, 1: the subseed's; between them by spherical interpolation.
    subseed_strength: float = 0.0
    #: Width and height in pixels of the picture whose noise is pasted into this one's.
    resize_from: tuple[int, int] | None = None
    #: Added to the seed for all noise but the first, with the samplers that A1111 does so for (ENSD).
    seed_delta: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """The numbers of the solver."""

    #: None: 1 with ancestral and SDE samplers, 0 with DDIM, as A1111's options eta_ancestral and eta_ddim.
    eta: float | None = None
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0
    #: Of the schedule; 0: the model's or the schedule's own.
    sigma_min: float = 0.0
    sigma_max: float = 0.0
    rho: float = 0.0
    beta_alpha: float = 0.6
    beta_beta: float = 0.6
    #: Leave out the last noise level but 0 with every sampler, not only those that A1111 does so for.
    discard_penultimate: bool = False
    #: Begin with noise times sqrt(1 + sigma^2) instead of sigma (A1111's sgm_noise_multiplier).
    sgm_noise_multiplier: bool = False
    unipc_variant: str = "bh1"
    unipc_order: int = 3
    unipc_lower_order_final: bool = True
