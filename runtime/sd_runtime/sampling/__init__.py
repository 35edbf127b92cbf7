"""Noise schedules and samplers in k-diffusion's terms. Importing this package does not import torch."""

from sd_runtime.sampling.catalog import (
    AUTOMATIC,
    SAMPLERS,
    SCHEDULERS,
    SamplerInfo,
    SchedulerInfo,
    find_sampler,
    find_scheduler,
    resolve_scheduler,
)

__all__ = [
    "AUTOMATIC",
    "SAMPLERS",
    "SCHEDULERS",
    "SamplerInfo",
    "SchedulerInfo",
    "find_sampler",
    "find_scheduler",
    "resolve_scheduler",
]
