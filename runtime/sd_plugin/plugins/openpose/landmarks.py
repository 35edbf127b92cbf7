"""Bodies, hands and faces: from a detection to a turned square, and from that to landmarks in pixels.

Every square, threshold and layout is that of MediaPipe's published graphs: BlazePose (Bazarevsky et al.,
2020; `pose_landmark`), MediaPipe Hands (Zhang et al., 2020; `hand_landmark`) and Face Mesh (Kartynnik et al.,
2019; `face_landmark`), as its static-image solutions run them: nothing is known of a picture before.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose import detection
from sd_plugin.plugins.openpose.detection import Detection, Floats
from sd_plugin.plugins.openpose.layouts import HEAD
from sd_plugin.plugins.openpose.networks import Model, Network, Networks, Outputs
from sd_plugin.plugins.openpose.regions import Points, Region, angle_between

#: A landmark network's own certainty that its square shows what it looks for.
_LEAST_PRESENCE = 0.5

_BODY_LANDMARKS, _BODY_VALUES = 33, 5
_BODY_ENDS = slice(0, 2)  # of a body's detection: the middle of the hips; size and direction
_NEXT_ENDS = slice(33, 35)  # the same, among the landmarks
_BODY_SCALE = 1.25
#: From here on a landmark counts as seen (the threshold of MediaPipe's own drawings).
SEEN = 0.5
#: Two bodies are one if their landmarks are on average no further apart than this part of the person.
_SAME_BODY = 0.2
#: Two heads are one if they are no further apart than this part of the larger one.
_SAME_HEAD = 0.5
_HEATMAP_KERNEL = 7
_LEAST_HEAT = 0.5

_WRIST, _MIDDLE_FINGER = 0, 2  # keypoints of a palm's detection
_HAND_SCALE, _HAND_SHIFT = 2.6, -0.5

_RIGHT_EYE, _LEFT_EYE = 0, 1  # keypoints of a face's detection
_FACE_SCALE = 1.5


@dataclass(frozen=True, slots=True)
class _Way:
    """How to look at a body: how often, and how sure each look must be."""

    looks: int
    least_presence: float


_AT_ONCE = _Way(1, _LEAST_PRESENCE)
#: A part of a picture can cut a person, whose square is then too small; the landmarks tell of a better one.
#: And more parts show more things that resemble people; those do not withstand another look.
_AGAIN = _Way(3, 0.9)


@dataclass(frozen=True, slots=True)
class Body:
    """BlazePose's landmarks (33, 2) in pixels, and how certain it is that each is to be seen (33,), 0..1.
    The two `ends` tell which square to look at: the hips' middle, and a point for its size and direction."""

    points: Points
    visibility: Floats
    ends: Points


def bodies(networks: Networks, picture: Pixels, most: int) -> list[Body]:
    """The people of a picture, the surest first, at most so many: those of the picture as a whole, then
    others that show in its parts. BlazePose's detector alone tells of one or two, the largest."""
    found: list[tuple[Detection, Body]] = []
    for way, regions in ((_AT_ONCE, [Region.whole(picture)]), (_AGAIN, Region.parts(picture))):
        detections = [
            one for each in regions for one in detection.find(detection.BODY, networks, picture, each)
        ]
        for one in sorted(detections, key=lambda each: -each.score):
            if any(one.is_same(known) for known, _ in found):
                continue
            body = _looked_at(networks, picture, one.keypoints[_BODY_ENDS], way)
            if body is not None and not any(_same_body(body, other) for _, other in found):
                found.append((one, body))
    return [body for _, body in found[:most]]


def hands(networks: Networks, picture: Pixels, region: Region) -> list[Points]:
    """The landmarks (21, 2) of each hand in a region that is not turned."""
    found = detection.find(detection.PALM, networks, picture, region)
    each = (_hand(networks, picture, _hand_region(one)) for one in found)
    return [hand for hand in each if hand is not None]


def faces(networks: Networks, picture: Pixels, region: Region) -> list[Points]:
    """The mesh (468, 2) of each face in a region that is not turned."""
    found = detection.find(detection.FACE, networks, picture, region)
    each = (_face(networks, picture, _face_region(one)) for one in found)
    return [face for face in each if face is not None]


def _looked_at(networks: Networks, picture: Pixels, ends: Points, way: _Way) -> Body | None:
    """What is seen of a body by looking so many times, each time where the last look found it."""
    body = None
    for _ in range(way.looks):
        body = _body(networks, picture, _body_region(ends), way.least_presence)
        if body is None:
            return None
        ends = body.ends
    return body


def _body_region(ends: Points) -> Region:
    middle, end = ends
    side = 2 * math.dist(middle, end) * _BODY_SCALE
    return Region(float(middle[0]), float(middle[1]), side, angle_between(middle, end, math.pi / 2))


def _same_body(one: Body, other: Body) -> bool:
    """Whether both are of one person: their heads are in one place, or all that both see of them is."""
    heads = [each.points[HEAD] for each in (one, other)]
    size = max(np.ptp(head, axis=0).max() for head in heads)
    if math.dist(*(head.mean(axis=0) for head in heads)) < _SAME_HEAD * size:
        return True
    seen = (one.visibility >= SEEN) & (other.visibility >= SEEN)
    if not seen.any():
        return False
    apart = np.hypot(*(one.points[seen] - other.points[seen]).T).mean()
    return bool(apart < _SAME_BODY * np.ptp(other.points[other.visibility >= SEEN], axis=0).max())


def _hand_region(found: Detection) -> Region:
    """Around the whole hand, of which the detection's box is the palm: further towards the fingers."""
    palm, fingers = found.keypoints[_WRIST], found.keypoints[_MIDDLE_FINGER]
    angle = angle_between(palm, fingers, math.pi / 2)
    ahead = float(found.size[1]) * _HAND_SHIFT
    x, y = found.middle + np.array([-math.sin(angle), math.cos(angle)]) * ahead
    return Region(float(x), float(y), float(found.size.max()) * _HAND_SCALE, angle)


def _face_region(found: Detection) -> Region:
    angle = angle_between(found.keypoints[_RIGHT_EYE], found.keypoints[_LEFT_EYE], 0.0)
    x, y = found.middle
    return Region(float(x), float(y), float(found.size.max()) * _FACE_SCALE, angle)


def _body(networks: Networks, picture: Pixels, region: Region, least_presence: float) -> Body | None:
    network = networks[Model.BODY_LANDMARKS]
    landmarks, presence, _, heat, _ = _seen(network, picture, region)
    if float(presence[0]) < least_presence:
        return None
    rows = landmarks.reshape(-1, _BODY_VALUES).astype(np.float64)
    within = refined(rows[:, :2] / network.side, heat)
    visibility = 1 / (1 + np.exp(-rows[:, 3]))
    points = region.points(within)
    return Body(points[:_BODY_LANDMARKS], visibility[:_BODY_LANDMARKS], points[_NEXT_ENDS])


def _hand(networks: Networks, picture: Pixels, region: Region) -> Points | None:
    network = networks[Model.HAND_LANDMARKS]
    landmarks, presence, _, _ = _seen(network, picture, region)
    if float(presence[0]) < _LEAST_PRESENCE:
        return None
    return region.points(landmarks.reshape(-1, 3)[:, :2] / network.side)


def _face(networks: Networks, picture: Pixels, region: Region) -> Points | None:
    network = networks[Model.FACE_LANDMARKS]
    landmarks, presence = _seen(network, picture, region)
    if 1 / (1 + math.exp(-presence.item())) < _LEAST_PRESENCE:
        return None
    return region.points(landmarks.reshape(-1, 3)[:, :2] / network.side)


def _seen(network: Network, picture: Pixels, region: Region) -> Outputs:
    return network(region.crop(picture, network.side, outside="edge"), lowest=0.0)


def refined(within: Points, heat: npt.NDArray[np.float32]) -> Points:
    """Landmarks (n, 2), in parts of the square, moved to where a heatmap (h, w, n) of logits has them: to the
    mean of the places near them by their heat, for those of which the map is certain (MediaPipe's
    RefineLandmarksFromHeatmapCalculator)."""
    height, width, _ = heat.shape
    reach = _HEATMAP_KERNEL // 2
    better = within.copy()
    for index, (x, y) in enumerate(within):
        column, row = int(x * width), int(y * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        left, top = max(column - reach, 0), max(row - reach, 0)
        part = heat[top : row + reach + 1, left : column + reach + 1, index].astype(np.float64)
        weights = 1 / (1 + np.exp(-part))
        if weights.max() < _LEAST_HEAT:
            continue
        rows, columns = np.indices(weights.shape)
        better[index] = (
            np.average(columns + left, weights=weights) / width,
            np.average(rows + top, weights=weights) / height,
        )
    return better
