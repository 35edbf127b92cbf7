"""Contact sheets: many small pictures on one, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

GAP = 2


def sheet(rows: Sequence[torch.Tensor], *, zoom: int = 1) -> Image.Image:
    """One row of the sheet for each tensor of uint8 pictures (count, 3, height, width)."""
    height, width = rows[0].shape[-2:]
    columns = max(len(row) for row in rows)
    result = Image.new(
        "RGB", (columns * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP), (255, 255, 255)
    )
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            drawn = Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
            result.paste(drawn, (x * (width + GAP), y * (height + GAP)))
    return result.resize((result.width * zoom, result.height * zoom), Image.Resampling.NEAREST)


def grid(pixels: torch.Tensor, columns: int = 16) -> Image.Image:
    """Pictures in reading order."""
    return sheet(torch.split(pixels, columns))
