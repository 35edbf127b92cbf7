"""A large picture in overlapping tiles: where they lie, and how their results are joined without a seam.

All tiles have the same size and neighbours share the same width, in which the result of one fades into that
of the other; so the shares of all tiles add up to 1 everywhere. Only the row of tiles that is computed lies
in memory as floats beside the result. Knows no networks.
"""

from collections.abc import Callable, Generator
from math import ceil
from typing import Any, TypeVar

import torch

#: A tile in cells: top, bottom, left, right.
Box = tuple[int, int, int, int]
Apply = Callable[[Box], torch.Tensor]  # -> (1, C, zoom * rows, zoom * columns)
#: float32 (1, C, rows, columns) to the form that the result has.
Finish = Callable[[torch.Tensor], torch.Tensor]
T = TypeVar("T")

#: Of a tile's side, so that no point lies in three tiles in a row.
_MOST_OVERLAP = 1 / 4


def spans(length: int, *, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Begin and end of equal pieces of at most `tile` that cover the length, each sharing `overlap` with the
    next (at most a quarter of a tile)."""
    if length <= tile:
        return [(0, length)]
    overlap = min(overlap, int(tile * _MOST_OVERLAP))
    count = ceil((length - overlap) / (tile - overlap))
    size = min(ceil((length + (count - 1) * overlap) / count), tile)
    starts = [round(place * (length - size) / (count - 1)) for place in range(count)]
    return [(start, start + size) for start in starts]


def joining(
    apply: Apply,
    *,
    rows: int,
    columns: int,
    tile: int,
    overlap: int,
    zoom: int = 1,
    finish: Finish = torch.Tensor.float,
) -> Generator[None, None, torch.Tensor]:
    """What `apply` makes of each tile, one tile each time it is resumed; returns them as one picture (1, C,
    zoom * rows, zoom * columns) in the processor's memory. Lengths are in cells of the input."""
    down, across = (spans(length, tile=tile, overlap=overlap) for length in (rows, columns))
    picture: torch.Tensor | None = None
    # What a row of tiles leaves for the next one to add to.
    begun: torch.Tensor | None = None
    for row, (top, bottom) in enumerate(down):
        band: torch.Tensor | None = None
        for column, (left, right) in enumerate(across):
            piece = apply((top, bottom, left, right)).float().cpu()
            if band is None:
                band = torch.zeros(1, piece.shape[1], zoom * (bottom - top), zoom * columns)
                if begun is not None:
                    band[..., : begun.shape[2], :] = begun
            share = _share(down, row, zoom)[:, None] * _share(across, column, zoom)
            band[..., zoom * left : zoom * right] += piece * share
            yield
        assert band is not None
        until = down[row + 1][0] if row + 1 < len(down) else bottom
        ready = zoom * (until - top)
        finished, begun = finish(band[..., :ready, :]), band[..., ready:, :].clone()
        if picture is None:
            picture = torch.empty(1, band.shape[1], zoom * rows, zoom * columns, dtype=finished.dtype)
        picture[..., zoom * top : zoom * until, :] = finished
    assert picture is not None
    return picture


def at_once(work: Generator[Any, None, T]) -> T:
    """What work returns that could be done piece by piece."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def _share(pieces: list[tuple[int, int]], place: int, zoom: int) -> torch.Tensor:
    """How much of the result is this piece's, at each of its points."""
    start, end = pieces[place]
    share = torch.ones(zoom * (end - start))
    if place > 0:
        width = zoom * (pieces[place - 1][1] - start)
        share[:width] = _rise(width)
    if place + 1 < len(pieces):
        width = zoom * (end - pieces[place + 1][0])
        share[len(share) - width :] = 1 - _rise(width)
    return share


def _rise(width: int) -> torch.Tensor:
    return (torch.arange(width) + 0.5) / max(width, 1)
