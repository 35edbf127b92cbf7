"""Several pictures as one."""

import math
from collections.abc import Sequence

import numpy as np

from sd_runtime.images.codec import Pixels
from sd_runtime.images.resizing import Size


def size_of(count: int, place: Size, rows: int | None = None) -> Size:
    """Of the grid of so many pictures with places of that size."""
    rows, columns = _shape(count, rows)
    return columns * place[0], rows * place[1]


def grid(pictures: Sequence[Pixels], rows: int | None = None) -> Pixels:
    """Row by row on black, each place as large as the largest picture; None: about as many rows as columns
    (A1111's)."""
    columns = _shape(len(pictures), rows)[1]
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    across, down = size_of(len(pictures), (width, height), rows)
    whole = np.zeros((down, across, 3), dtype=np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * height, place % columns * width
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole


def _shape(count: int, rows: int | None) -> tuple[int, int]:
    """Rows and columns."""
    rows = max(min(round(math.sqrt(count)) if rows is None else rows, count), 1)
    return rows, math.ceil(count / rows)
