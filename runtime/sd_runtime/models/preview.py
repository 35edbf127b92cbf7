"""Small pictures of latents, without the decoder: each colour is a weighted sum of the latent's channels.

The weights are fitted to a checkpoint's own autoencoder, by least squares over pictures made for that; so
they are right for every family and every autoencoder, and no file is needed.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from sd_runtime.models.vae import Pixels

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

#: Sides of the pictures that are fitted to, in latents.
_SIDE = 16
_PICTURES = 8
_SEED = 0
# Colours are not to be bought with large weights that cancel each other out.
_RIDGE = 1e-3


class Previewer:
    """For one model. Device thread only; the first preview takes the time of encoding a few small
    pictures."""

    def __init__(self, model: "Model") -> None:
        self._model = model

    def rgb(self, latents: torch.Tensor) -> Pixels:  # (1, C, H, W) -> (H, W, 3)
        """The picture at the latents' own size: an eighth of the finished one's sides."""
        weights = self._weights.to(latents.device)
        shades = torch.einsum("chw,ck->hwk", latents[0].float(), weights[:-1]) + weights[-1]
        # What is not a number is shown as black; the decoder will tell.
        shades = torch.nan_to_num(shades * 255, nan=0.0)
        picture: Pixels = shades.clamp(0, 255).round().to(torch.uint8).cpu().numpy()
        return picture

    @cached_property
    def _weights(self) -> torch.Tensor:  # (C + 1, 3), the last for a constant
        rows, colours = [], []
        for picture in _pictures(_SIDE * self._model.latent_stride):
            latents = self._model.encode_image(picture)[0].cpu().double()
            rows.append(latents.flatten(1).T)
            shades = torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 255
            colours.append(torch.nn.functional.avg_pool2d(shades, self._model.latent_stride)[0].flatten(1).T)
        table = torch.cat(rows)
        table = torch.cat([table, torch.ones(len(table), 1, dtype=table.dtype)], dim=1)
        scales = table.std(dim=0)
        ridge = torch.diag(_RIDGE * len(table) * scales**2)  # the constant has none
        answer = torch.linalg.solve(
            table.T @ table + ridge + 1e-9 * torch.eye(len(ridge), dtype=table.dtype),
            table.T @ torch.cat(colours),
        )
        weights: torch.Tensor = answer.float()
        return weights


def _pictures(side: int) -> list[Pixels]:
    """Random colours, by turns in soft gradients and in fields with edges, as pictures have both."""
    random = np.random.default_rng(_SEED)
    made = []
    for number in range(_PICTURES):
        colours = torch.from_numpy(random.random((1, 3, 4, 4)))
        mode = ("bicubic", "nearest")[number % 2]
        shades = torch.nn.functional.interpolate(colours, size=(side, side), mode=mode).clamp(0, 1)
        made.append((shades[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    return made
