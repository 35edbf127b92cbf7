"""What a sampler is told of its latents: the network's estimate of the picture in them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """The denoised latents after guidance, and those of the negative prompt alone (None: no guidance)."""

    denoised: "torch.Tensor"  # (1, C, H, W), float32
    unguided: "torch.Tensor | None" = None
