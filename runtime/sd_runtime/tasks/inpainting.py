"""What happens to a picture and its mask before and after they are latents: softening, the part that is
drawn, what lies under the mask, and the original over it.

All of it is work for the host. Importing it does not import torch.
"""

from dataclasses import dataclass

import numpy as np

from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import masks, resizing
from sd_runtime.images.masks import Region
from sd_runtime.images.resizing import Size
from sd_runtime.tasks.recipe import Grey, Mask, MaskedContent, ResizeMode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masked:
    """A mask made ready for one picture."""

    #: What is drawn, at the size that is drawn.
    drawn: Grey
    #: How much of the original goes over the result, at the size of the picture it belongs to: white none.
    cover: Grey
    #: The part of the picture that is drawn alone; None: the whole.
    region: Region | None


def prepare(mask: Mask, picture: Size, size: Size, mode: ResizeMode) -> Masked:
    """The mask for a picture of one size that is drawn at another; raises `UnsupportedError` where only the
    masked part is to be drawn and there is none, or softening leaves nothing of it."""
    if mask.only_masked:
        demand_drawing(mask)
    soft = masks.blur(oriented(mask), mask.blur_x, mask.blur_y)
    if not mask.only_masked:
        drawn = _resized(soft, size, mode)
        # The soft edge lies outside of what is drawn, so that the original ends before it begins.
        return Masked(
            drawn=drawn, cover=np.minimum(drawn.astype(np.int64) * 2, 255).astype(np.uint8), region=None
        )
    soft = resizing.lanczos(soft, picture)
    if not soft.any():
        told = max(mask.blur_x, mask.blur_y)
        raise UnsupportedError("mask_blur", told, "less: nothing is left of a mask as small as this")
    region = masks.region(soft, mask.padding, size)
    return Masked(drawn=resizing.fill(region.cut(soft), size), cover=soft, region=region)


def demand_drawing(mask: Mask) -> None:
    """Raises `UnsupportedError` for a mask that has nothing drawn."""
    if not oriented(mask).any():
        allowed = "masks with something white (inverted: black) in them"
        raise UnsupportedError("mask", "a mask with nothing to draw", allowed)


def oriented(mask: Mask) -> Grey:
    """White for what is drawn."""
    return masks.invert(mask.image) if mask.invert else mask.image


def _resized(mask: Grey, size: Size, mode: ResizeMode) -> Grey:
    if mode is ResizeMode.CROP:
        return resizing.crop(mask, size)
    if mode is ResizeMode.FILL:
        return resizing.fill(mask, size)
    return resizing.lanczos(mask, size)


def begin(picture: Pixels, masked: Masked, content: MaskedContent) -> Pixels:
    """What drawing begins with: the picture, with other colours under the mask if they are to be so."""
    return picture if content is MaskedContent.ORIGINAL else masks.fill(picture, masked.drawn)


def finish(drawn: Pixels, original: Pixels, masked: Masked) -> Pixels:
    """The original with what was drawn where the mask is."""
    if masked.region is not None:
        part = resizing.crop(drawn, masked.region.size)
        drawn = masks.paste(original, part, masked.region)
    return masks.overlay(drawn, original, masked.cover)
