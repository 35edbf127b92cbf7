"""Latents with a mask: what of them is drawn anew, and what an inpainting checkpoint is shown of the picture.

Knows no prompt and no sampler. Device thread only.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sd_runtime.engine.work import EncodeImage, Pixels, Work
from sd_runtime.models.network import Model
from sd_runtime.tasks.recipe import LATENT_STRIDE, Grey

#: What a network of inpainting sees where the mask is: the middle of its range.
_GREY = 128
_WHITE = 255


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """Latents of which a part is drawn anew."""

    latents: torch.Tensor  # (1, C, H, W)
    drawn: torch.Tensor  # (1, 1, H, W), 0 to 1: how much of each latent is drawn anew

    def blend(self, latents: torch.Tensor) -> torch.Tensor:
        """What was drawn, and the canvas where it was not."""
        return latents * self.drawn + self.latents * (1 - self.drawn)


def mask_latents(
    mask: Grey, *, binary: bool, device: torch.device
) -> torch.Tensor:  # (8H, 8W) -> (1, 1, H, W)
    """The mask at the size of latents, 0 to 1; `binary`: nothing in between."""
    size = mask.shape[1] // LATENT_STRIDE, mask.shape[0] // LATENT_STRIDE
    small = (
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / _WHITE
    )
    return torch.from_numpy(small.round() if binary else small)[None, None].to(device)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """The picture as an inpainting checkpoint is shown it: without what its mask covers."""

    pixels: Pixels
    mask: Grey  # of the same size

    @classmethod
    def nothing(cls, width: int, height: int) -> "Shown":
        """All is masked: a picture is drawn from nothing."""
        mask = np.full((height, width), _WHITE, dtype=np.uint8)
        return cls(pixels=np.zeros((height, width, 3), dtype=np.uint8), mask=mask)

    def channels(
        self, model: Model, *, vae: Path | None, tiling: bool
    ) -> "Generator[Work, Any, torch.Tensor | None]":
        """The further input channels of a network that has them, None for others: the mask, and the latents
        of the picture with grey in its place (Stable Diffusion inpainting: 1 + 4 channels)."""
        if not model.extra_channels:
            return None
        hidden = self.mask > _WHITE // 2
        grey = np.where(hidden[..., None], np.uint8(_GREY), self.pixels)
        latents = yield EncodeImage(grey, vae, tiling)
        mask = torch.from_numpy(hidden.astype(np.float32))[None, None]
        mask = torch.nn.functional.interpolate(mask, size=latents.shape[-2:]).to(latents.device)
        return torch.cat([mask, latents], dim=1)
