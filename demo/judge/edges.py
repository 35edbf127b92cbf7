"""How well a picture follows a control map."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from demo.draw import control
from demo.draw.control import Mask

DILATION = 2  # pixels by which an edge may lie beside the wanted one


def agreement(picture: torch.Tensor, wanted: torch.Tensor) -> float:
    """F1 of the edges of a uint8 picture (3, height, width) against a control map (height, width).

    Precision is the share of the picture's edges within two pixels of a wanted one, recall the share of the
    wanted edges within two pixels of one of the picture's; 0 when either has no edge.
    """
    seen, asked = control.canny(picture.permute(1, 2, 0).numpy()), wanted.numpy().astype(bool)
    if not seen.any() or not asked.any():
        return 0.0
    precision = float((seen & _dilate(asked)).sum() / seen.sum())
    recall = float((asked & _dilate(seen)).sum() / asked.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _dilate(mask: Mask) -> Mask:
    kernel = np.ones((2 * DILATION + 1, 2 * DILATION + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)) > 0
