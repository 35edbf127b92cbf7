"""Control maps: a picture's edges as Canny finds them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

LOW, HIGH = 100, 200  # Canny's thresholds, those of ControlNet's preprocessor

Mask = npt.NDArray[np.bool_]


def canny(picture: npt.NDArray[np.uint8]) -> Mask:
    """The edges of a picture (height, width, 3), as (height, width)."""
    return np.asarray(cv2.Canny(np.ascontiguousarray(picture), LOW, HIGH)) > 0
