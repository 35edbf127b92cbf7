"""Folds the latents' own mean and spread into the autoencoder's weights.

Stable Diffusion 1.5 multiplies latents by 0.18215, a number no weight file holds. This autoencoder's latents
have another spread, so `quant_conv` is changed to hand out latents for which 0.18215 is right (each channel
with mean 0 and deviation 1 after it) and `post_quant_conv` to take them back. Pictures stay the same.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL

from demo.train import networks


@torch.no_grad()
def fold(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Rescales latents in place: z becomes (z - mean) / deviation / 0.18215, per channel."""
    scale = 1 / (deviation * networks.SCALING_FACTOR)
    channels = len(mean)
    quant, post = vae.quant_conv, vae.post_quant_conv
    # The first half of the rows is the posterior's mean, the second its logarithmic variance.
    quant.weight[:channels] *= scale[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) * scale
    quant.bias[channels:] += 2 * scale.log()
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight /= scale[None, :, None, None]


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """The posterior's means of pictures in -1 to 1, without the scaling factor."""
    return torch.cat([vae.encode(batch).latent_dist.mean for batch in torch.split(pixels, 16)])


def normalise(vae: AutoencoderKL, pixels: torch.Tensor) -> None:
    """Measures the latents of these pictures and folds their mean and deviation."""
    latents = encode(vae, pixels)
    fold(vae, latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
