"""Masks of inpainting on the host: softening them, the part of a picture around them, and what is laid under
and over. White (255) is what is drawn anew."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from sd_runtime.images.codec import Grey, Pixels
from sd_runtime.images.resizing import Size

#: A Gaussian is cut at so many standard deviations on each side.
_REACH = 2.5
#: Numbers that are computed with as floats at one time.
_AT_ONCE = 2**21
#: Blurred copies that are laid over each other in `fill`, coarse ones first: radius, how often (A1111's).
_LAYERS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))


class Region(NamedTuple):
    """A rectangle of pixels; right and bottom are outside of it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def cut(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """This part of a picture or mask."""
        return pixels[self.top : self.bottom, self.left : self.right]


def invert(mask: Grey) -> Grey:
    """White for black."""
    return 255 - mask


def blur(mask: Grey, sigma_x: float, sigma_y: float) -> Grey:
    """Softened by a Gaussian with these standard deviations in pixels (0: not at all), cut at 2.5 of them;
    beyond its edges the mask is mirrored."""
    soft = _blur_rows(mask.astype(np.float32), sigma_x)
    soft = _blur_rows(soft.T, sigma_y).T
    return np.ascontiguousarray(soft.round().clip(0, 255).astype(np.uint8))


def _blur_rows(values: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """By Fourier transform: a blur of 64 over 2048 pixels a side takes 321 weights for each of them."""
    if sigma <= 0:
        return values
    reach = int(_REACH * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    width = values.shape[1]
    length = width + 4 * reach
    kernel = np.fft.rfft(weights, length)
    soft = np.empty_like(values)
    # A short row becomes many times as long by what is mirrored: all at once they may not fit.
    for rows in _bands(len(values), length):
        mirrored = np.pad(values[rows].astype(np.float64), ((0, 0), (reach, reach)), mode="reflect")
        blurred = np.fft.irfft(np.fft.rfft(mirrored, length) * kernel, length)
        soft[rows] = blurred[:, 2 * reach : 2 * reach + width]
    return soft


def _bands(rows: int, width: int) -> Iterator[slice]:
    """Rows of this many numbers, some at a time."""
    count = max(_AT_ONCE // width, 1)
    return (slice(start, start + count) for start in range(0, rows, count))


def region(mask: Grey, padding: int, proportions: Size) -> Region:
    """The part of the picture that has all that is masked, with `padding` pixels around it, made larger in
    one direction to have these proportions as nearly as the picture allows. The mask has something white."""
    height, width = mask.shape
    columns, rows = np.flatnonzero(mask.max(axis=0)), np.flatnonzero(mask.max(axis=1))
    left, right = max(int(columns[0]) - padding, 0), min(int(columns[-1]) + 1 + padding, width)
    top, bottom = max(int(rows[0]) - padding, 0), min(int(rows[-1]) + 1 + padding, height)
    wide, high = right - left, bottom - top
    if wide * proportions[1] > high * proportions[0]:
        top, bottom = _widened(top, bottom, wide * proportions[1] // proportions[0], height)
    else:
        left, right = _widened(left, right, high * proportions[0] // proportions[1], width)
    return Region(left, top, right, bottom)


def _widened(first: int, last: int, length: int, room: int) -> tuple[int, int]:
    """So long, around the same middle, moved where the picture ends, and cut where it is too short."""
    first -= (length - (last - first)) // 2
    first = max(min(first, room - length), 0)
    return first, min(first + length, room)


def fill(picture: Pixels, mask: Grey) -> Pixels:
    """What is masked, filled with the colours around it, so that drawing begins with their mood and not with
    what is to go.

    Blurred copies of the rest are laid over each other, coarse ones first: near the mask's edge fine ones
    decide, and coarse ones in the middle.
    """
    image = Image.fromarray(np.dstack([picture, invert(mask)])).convert("RGBa")
    colours: npt.NDArray[np.floating[Any]] = np.zeros(picture.shape, dtype=np.float32)  # premultiplied
    cover: npt.NDArray[np.floating[Any]] = np.zeros(mask.shape, dtype=np.float32)
    for radius, times in _LAYERS:
        layer = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / np.float32(255)
        alpha = layer[..., 3]
        # Laid over itself `times` times.
        deep = 1 - (1 - alpha) ** times
        strength = deep / np.where(alpha > 0, alpha, 1)
        colours = colours * (1 - deep)[..., None] + layer[..., :3] * strength[..., None]
        cover = cover * (1 - deep) + deep
    filled = colours / np.where(cover > 0, cover, 1)[..., None]
    return (filled * 255).round().clip(0, 255).astype(np.uint8)


def overlay(drawn: Pixels, original: Pixels, mask: Grey) -> Pixels:
    """The original where the mask is black, what was drawn where it is white, and between them in between."""
    laid = np.empty_like(original)
    for rows in _bands(*mask.shape):
        share, under = mask[rows, :, None].astype(np.float32) / 255, original[rows]
        laid[rows] = (under + (drawn[rows].astype(np.float32) - under) * share).round()
    return laid


def paste(whole: Pixels, part: Pixels, where: Region) -> Pixels:
    """The whole with this part in its place."""
    pasted = whole.copy()
    where.cut(pasted)[...] = part
    return pasted
