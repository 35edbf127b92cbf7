"""The training objective that the UNet's trainings share: predict the noise of a noisy latent.

Stable Diffusion's scaled linear schedule; errors are weighted as in "Efficient Diffusion Training via Min-SNR
Weighting Strategy" (Hang et al. 2023): steps that are nearly clean teach little.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

SNR_CAP = 5.0
TIMESTEPS = 1000

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def alphas_cumprod() -> torch.Tensor:
    """The signal's share of the variance at each of the 1,000 timesteps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0).float()


class NoiseLoss:
    """Adds noise to latents and measures how well it is predicted."""

    def __init__(self) -> None:
        alphas = alphas_cumprod()
        self._signal, self._noise = alphas.sqrt(), (1 - alphas).sqrt()
        snr = alphas / (1 - alphas)
        self._weight = snr.clamp(max=SNR_CAP) / snr

    def __call__(self, clean: torch.Tensor, predict: Predict) -> dict[str, torch.Tensor]:
        """The loss of latents (rows, 4, height, width); `predict(noisy, timesteps)` is the network."""
        noise = torch.randn_like(clean)
        # Evenly spread over the schedule: less chance in each batch than independent draws.
        rows = len(clean)
        timesteps = ((torch.rand(()) + torch.arange(rows) / rows) % 1 * TIMESTEPS).long()
        noisy = _column(self._signal[timesteps]) * clean + _column(self._noise[timesteps]) * noise
        error = (predict(noisy, timesteps).float() - noise).square().mean(dim=(1, 2, 3))
        return {"loss": (self._weight[timesteps] * error).mean(), "eps": error.mean().detach()}


def _column(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]
