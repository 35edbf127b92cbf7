"""Squares of a picture that a network looks at, perhaps turned, and the way back from what it saw to pixels.

The geometry is that of MediaPipe's ImageToTensorCalculator and LandmarkProjectionCalculator: the square's
corners become the corners of the network's input, and bilinear sampling reads between pixels.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from sd_plugin.module import Pixels

#: Positions (n, 2), x then y, in pixels of the picture unless it is said otherwise.
Points = npt.NDArray[np.float64]
#: What lies outside the picture: black, or the nearest pixel of its edge.
Outside = Literal["black", "edge"]

_BORDERS = {"black": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE}


@dataclass(frozen=True, slots=True)
class Region:
    """A square: its centre and side in pixels, and the angle it is turned by, radians, clockwise as seen."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @classmethod
    def whole(cls, picture: Pixels) -> "Region":
        """The smallest square around a picture; what it has beyond the picture is on two opposite sides."""
        height, width = picture.shape[:2]
        return cls(width / 2, height / 2, max(width, height))

    @classmethod
    def parts(cls, picture: Pixels) -> list["Region"]:
        """Squares half as long as the picture's longer side, each half over the next, that cover it."""
        height, width = picture.shape[:2]
        side = max(height, width) / 2
        xs, ys = (_middles(length, side) for length in (width, height))
        return [cls(x, y, side) for y in ys for x in xs]

    @classmethod
    def around(cls, points: Points, scale: float) -> "Region":
        """The square, not turned, around the middle of the points' bounding box: `scale` times its longer
        side."""
        low, high = points.min(axis=0), points.max(axis=0)
        x, y = (low + high) / 2
        return cls(float(x), float(y), float(np.max(high - low)) * scale)

    def points(self, within: Points) -> Points:
        """Positions (n, 2) in parts of the square, 0..1 from its top left corner, as pixels."""
        return self._turn(np.asarray(within, np.float64) - 0.5) * self.side + (self.x, self.y)

    def crop(self, picture: Pixels, side: int, outside: Outside) -> Pixels:
        """What the square shows, as (side, side, 3)."""
        corners = self.points(np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]))
        targets = np.array([(0, 0), (side, 0), (0, side)], np.float32)
        matrix = cv2.getAffineTransform(corners.astype(np.float32), targets)
        cut = cv2.warpAffine(
            picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=_BORDERS[outside]
        )
        return np.asarray(cut, np.uint8)

    def _turn(self, vectors: Points) -> Points:
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turned: Points = vectors @ np.array([(cos, sin), (-sin, cos)])
        return turned


def _middles(length: int, side: float) -> list[float]:
    """Of the fewest intervals of `side` that cover a length, each at least half over the next."""
    if length <= side:
        return [length / 2]
    steps = math.ceil((length - side) / (side / 2))
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, steps + 1)]


def angle_between(start: Points, end: Points, upright: float) -> float:
    """By how much a square is turned in which the way from `start` to `end` has the direction `upright`,
    radians, counter-clockwise from the right as mathematicians have it; within -pi..pi (MediaPipe's
    DetectionsToRectsCalculator)."""
    way = end - start
    angle = upright - math.atan2(-way[1], way[0])
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))
