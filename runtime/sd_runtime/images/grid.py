"""Several pictures as one."""

import math
from collections.abc import Sequence

import numpy as np

from sd_runtime.images.codec import Pixels


def grid(pictures: Sequence[Pixels], rows: int | None = None) -> Pixels:
    """Row by row on black, each place as large as the largest picture; None: about as many rows as columns
    (A1111's)."""
    rows = max(min(round(math.sqrt(len(pictures))) if rows is None else rows, len(pictures)), 1)
    columns = math.ceil(len(pictures) / rows)
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    whole = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * height, place % columns * width
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole
