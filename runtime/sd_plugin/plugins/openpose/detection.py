"""Where in a picture something is: single-shot detectors with anchors, as MediaPipe's graphs use them.

The networks of BlazeFace's family (Bazarevsky et al., 2019) answer, for each of a fixed grid of anchors,
with a score and with a box and keypoints relative to the anchor. Anchors, decoding and non-maximum
suppression are those of MediaPipe's SsdAnchorsCalculator, TensorsToDetectionsCalculator and
NonMaxSuppressionCalculator with the options of its published graphs
(`mediapipe/modules/*_detection/*.pbtxt`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose.networks import Model, Networks, Outputs
from sd_plugin.plugins.openpose.regions import Points, Region

#: Anchors of one place and layer, one for each of two sizes; boxes are not relative to the sizes.
_ANCHORS_PER_LAYER = 2
#: Boxes that share more of their union than this show the same thing.
_SAME = 0.3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Detector:
    """A detecting network. `strides` are those of its layers, in pixels of its input; `lowest` is what black
    is to it."""

    model: Model
    strides: tuple[int, ...]
    lowest: float
    least_score: float = 0.5


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found, in pixels: its box's middle (2,) and size (2,), x then y, and its keypoints (k, 2)."""

    score: float
    middle: Points
    size: Points
    keypoints: Points

    def is_same(self, other: "Detection") -> bool:
        """Whether both boxes show the same thing."""
        one, two = (
            np.array([each.middle - each.size / 2, each.middle + each.size / 2]) for each in (self, other)
        )
        return bool(_shared(one, two[None])[0] > _SAME)


BODY = Detector(Model.BODY_DETECTION, (8, 16, 32, 32, 32), lowest=-1.0)
PALM = Detector(Model.PALM_DETECTION, (8, 16, 16, 16), lowest=0.0)
FACE = Detector(Model.FACE_DETECTION, (8, 16, 16, 16), lowest=-1.0)


def find(detector: Detector, networks: Networks, picture: Pixels, region: Region) -> list[Detection]:
    """What the detector finds in a region that is not turned, the surest first."""
    network = networks[detector.model]
    shown = region.crop(picture, network.side, outside="black")
    outputs = network(shown, lowest=detector.lowest)
    scores, rows = decode(outputs, anchors(network.side, detector.strides), network.side)
    sure = scores >= detector.least_score
    return [_placed(score, row, region) for score, row in suppressed(scores[sure], rows[sure])]


@cache
def anchors(side: int, strides: tuple[int, ...]) -> Points:
    """The anchors' middles (n, 2), in parts of the input, in the order of the network's outputs: by layer,
    row and column; layers that follow one another with the same stride are one grid."""
    grids = []
    for stride in dict.fromkeys(strides):
        cells = (np.arange(-(-side // stride)) + 0.5) * stride / side
        xs, ys = np.meshgrid(cells, cells)
        places = np.stack([xs.ravel(), ys.ravel()], axis=1)
        grids.append(np.repeat(places, _ANCHORS_PER_LAYER * strides.count(stride), axis=0))
    return np.concatenate(grids)


def decode(outputs: Outputs, places: Points, side: int) -> tuple[Floats, Floats]:
    """Scores (n,) and rows (n, 2 + k, 2) in parts of the input: a box's top left and bottom right corner,
    then its keypoints. `places` are the anchors, `side` the input's in pixels."""
    raw, logits = (each.astype(np.float64) for each in outputs)
    pairs = raw.reshape(len(places), -1, 2) / side
    middles, halves = pairs[:, :1] + places[:, None], pairs[:, 1:2] / 2
    keypoints = pairs[:, 2:] + places[:, None]
    scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -100, 100)))
    return scores, np.concatenate([middles - halves, middles + halves, keypoints], axis=1)


def suppressed(scores: Floats, rows: Floats) -> Iterator[tuple[float, Floats]]:
    """Weighted non-maximum suppression: boxes of the same thing become one, the mean of all by score, with
    the best one's score. The surest first."""
    order = np.argsort(-scores, kind="stable")
    scores, rows = scores[order], rows[order]
    while len(rows):
        same = _shared(rows[0], rows) > _SAME
        same[0] = True  # even a box without an area is itself
        weights = scores[same] / scores[same].sum()
        yield float(scores[0]), np.tensordot(weights, rows[same], axes=1)
        scores, rows = scores[~same], rows[~same]


def _shared(one: Floats, rows: Floats) -> Floats:
    """Intersection over union of a box with each of the rows' boxes."""
    low, high = np.maximum(one[0], rows[:, 0]), np.minimum(one[1], rows[:, 1])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(rows[:, 1] - rows[:, 0], axis=1)
    union = np.prod(one[1] - one[0]) + areas - both
    shared: Floats = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return shared


def _placed(score: float, row: Floats, region: Region) -> Detection:
    pixels = region.points(row)
    return Detection(score, pixels[:2].mean(axis=0), pixels[1] - pixels[0], pixels[2:])
