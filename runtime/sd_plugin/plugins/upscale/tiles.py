"""A large picture in overlapping tiles, and what is made of them put together without a seam.

Neighbours share a strip in which one fades into the other; the shares of all tiles add up to 1 everywhere.
Only one row of tiles is in memory as floats beside the result. Knows no networks.
"""

from collections.abc import Callable
from math import ceil

import numpy as np
import numpy.typing as npt

from sd_plugin.module import Pixels

Floats = npt.NDArray[np.float32]
Span = tuple[int, int]

#: Of a tile's side, so that no point lies in three tiles of a row.
_MOST_OVERLAP = 1 / 4


def spans(length: int, *, tile: int, overlap: int) -> list[Span]:
    """Begin and end of equal pieces of at most `tile` that cover the length, each sharing at least `overlap`
    with the next (but no more than a quarter of a tile is asked for)."""
    if length <= tile:
        return [(0, length)]
    overlap = min(overlap, int(tile * _MOST_OVERLAP))
    count = ceil((length - overlap) / (tile - overlap))
    size = min(ceil((length + (count - 1) * overlap) / count), tile)
    starts = [round(place * (length - size) / (count - 1)) for place in range(count)]
    return [(start, start + size) for start in starts]


def joined(
    image: Pixels, enlarge: Callable[[Pixels], Floats], *, tile: int, overlap: int, factor: int
) -> Pixels:
    """The picture (H, W, 3), `factor` times as large; `enlarge` makes a tile (h, w, 3) into (factor h,
    factor w, 3) of 0 to 1. Lengths are in pixels of the given picture."""
    height, width = image.shape[:2]
    down, across = (spans(length, tile=tile, overlap=overlap) for length in (height, width))
    made = np.empty((factor * height, factor * width, 3), np.uint8)
    begun: Floats | None = None  # what the row above leaves to be added to
    for row, (top, bottom) in enumerate(down):
        band = np.zeros((factor * (bottom - top), factor * width, 3), np.float32)
        if begun is not None:
            band[: len(begun)] = begun
        for column, (left, right) in enumerate(across):
            share = _share(down, row, factor)[:, None, None] * _share(across, column, factor)[:, None]
            piece = enlarge(np.ascontiguousarray(image[top:bottom, left:right]))
            band[:, factor * left : factor * right] += piece * share
        until = down[row + 1][0] if row + 1 < len(down) else bottom
        ready = factor * (until - top)
        made[factor * top : factor * until] = (band[:ready] * 255).round().clip(0, 255)
        begun = band[ready:].copy()
    return made


def _share(pieces: list[Span], place: int, factor: int) -> Floats:
    """How much of the result is this piece's, at each of its points."""
    start, end = pieces[place]
    share = np.ones(factor * (end - start), np.float32)
    if place > 0:
        width = factor * (pieces[place - 1][1] - start)
        share[:width] = _rise(width)
    if place + 1 < len(pieces):
        width = factor * (end - pieces[place + 1][0])
        share[len(share) - width :] = 1 - _rise(width)
    return share


def _rise(width: int) -> Floats:
    return ((np.arange(width) + 0.5) / max(width, 1)).astype(np.float32)
