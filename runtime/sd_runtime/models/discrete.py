"""The noise levels a discretely trained model knows: sigma and timestep, one from the other.

k-diffusion's discrete schedule: sigma = sqrt((1 - a) / a) for every entry a of alphas_cumprod, and between
two entries log(sigma) is linear in t (Karras et al. 2022, arXiv:2206.00364, appendix C.3.4, eq. 247-250).
Plain numbers on the host, so that no step waits for the device.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

TRAIN_STEPS = 1000
#: Of a schedule that ends in pure noise.
LEAST_ALPHA = 4.8973451890853435e-08


class DiscreteSchedule:
    """Sigmas in ascending order; t is a real number between 0 and their count minus one."""

    def __init__(self, alphas_cumprod: npt.NDArray[np.float64]) -> None:
        self.sigmas: npt.NDArray[np.float64] = np.sqrt((1 - alphas_cumprod) / alphas_cumprod)

    @cached_property
    def _log_sigmas(self) -> npt.NDArray[np.float64]:
        return np.log(self.sigmas)

    @property
    def sigma_min(self) -> float:
        """The least noise the model was trained on."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The most noise the model was trained on."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        """The real-valued timestep of a sigma; outside the trained range the nearest end."""
        return float(np.interp(np.log(sigma), self._log_sigmas, np.arange(len(self.sigmas))))

    def sigma(self, timestep: float) -> float:
        """The sigma of a real-valued timestep."""
        return float(np.exp(np.interp(timestep, np.arange(len(self.sigmas)), self._log_sigmas)))


def scaled_linear(
    *, start: float, end: float, steps: int = TRAIN_STEPS, zero_terminal: bool = False
) -> DiscreteSchedule:
    """The schedule of latent diffusion: betas whose square roots are evenly spaced (arXiv:2112.10752).

    `zero_terminal`: rescaled so that the last level holds nothing but noise (Lin et al. 2023,
    arXiv:2305.08891, algorithm 1).
    """
    betas = np.square(np.linspace(start**0.5, end**0.5, steps))
    alphas_cumprod: npt.NDArray[np.float64] = np.cumprod(1 - betas)
    if zero_terminal:
        roots = np.sqrt(alphas_cumprod)
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
        alphas_cumprod = np.square(roots)
        # Pure noise would be an infinite sigma; this is what samplers for such models begin at instead
        # (a sigma of 4518.8), and their published pictures were made with it.
        alphas_cumprod[-1] = LEAST_ALPHA
    return DiscreteSchedule(alphas_cumprod)
