"""A picture's colours kept while it is drawn anew: in the network's estimate of the finished latents, the low
frequencies give way to those of the control picture.

As sd-webui-controlnet's modules tile_colorfix and tile_colorfix+sharp, which do so to the estimate of every
text; as it is linear, doing it after guidance is the same. Knows neither networks nor steps. Device thread
only.
"""

import torch
from torch.nn import functional

from sd_runtime.sampling.estimate import Estimate
from sd_runtime.tasks.control import ColourFix

#: Of a sharpness of 1: the blurred share of an estimate without guidance.
_SHARPER = 0.01


class Colours:
    """Those of a control picture, for one pass."""

    def __init__(
        self,
        latents: torch.Tensor,  # (1, C, H, W)
        fix: ColourFix,
        *,
        weight: float,
        mask: torch.Tensor | None = None,  # (1, 1, H, W), 0 to 1
        widened: int = 1,
    ) -> None:
        """`latents` are the control picture's, `mask` is where they count (None: everywhere), and the blur is
        `widened` times as wide. A weight above 1 is like 1: no more can be replaced."""
        self._radius = fix.variation * widened
        self._blurred_share = fix.sharpness * _SHARPER
        self._low = blur(latents, self._radius)
        share = min(weight, 1.0)
        self._share = share if mask is None else share * mask

    def kept(self, estimate: Estimate, unguided_factor: float) -> Estimate:
        """The estimate with these colours. `unguided_factor` is what guidance multiplied the estimate without
        it by, so that what changes in that one changes the guided one, too."""
        guided = self._replaced(estimate.denoised)
        if estimate.unguided is None:
            return Estimate(guided)
        unguided = self._replaced(estimate.unguided)
        if self._blurred_share:
            blurrier = self._blurrier(estimate.unguided)
            guided, unguided = guided + unguided_factor * blurrier, unguided + blurrier
        return Estimate(guided, unguided)

    def _replaced(self, latents: torch.Tensor) -> torch.Tensor:
        return latents + self._share * (self._low - blur(latents, self._radius))

    def _blurrier(self, unguided: torch.Tensor) -> torch.Tensor:
        """What is added to an estimate without guidance, once it has these colours, to blur it."""
        whole = unguided - blur(unguided, self._radius) + self._low
        return self._share * self._blurred_share * (blur(whole, self._radius) - whole)


def blur(latents: torch.Tensor, radius: int) -> torch.Tensor:  # (B, C, H, W) -> (B, C, H, W)
    """The mean of the square that reaches so far to each side; beyond the edges it goes on as they are."""
    side = 2 * radius + 1
    padded = functional.pad(latents, (radius,) * 4, mode="replicate")
    # Down and then across: the same mean, for a small part of the additions.
    return functional.avg_pool2d(functional.avg_pool2d(padded, (side, 1), 1), (1, side), 1)
