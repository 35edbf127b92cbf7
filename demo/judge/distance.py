"""How far apart two pictures are."""

from __future__ import annotations

import torch


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Root mean square difference of two uint8 pictures of one size: 0 for equal ones, 1 for black and white.

    Raises ValueError for pictures of different sizes.
    """
    if first.shape != second.shape:
        raise ValueError(f"pictures of {tuple(first.shape)} and {tuple(second.shape)} cannot be compared")
    return float(((first.float() - second.float()) / 255).square().mean().sqrt())
