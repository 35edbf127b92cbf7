"""The people of a picture with their bodies, hands and faces, as OpenPose tells of them.

A body's hands and face are looked for where the body has them, so that small ones are found as well; a
picture in which there is no body is searched for faces as a whole.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose import landmarks, layouts
from sd_plugin.plugins.openpose.landmarks import Body
from sd_plugin.plugins.openpose.layouts import Blaze
from sd_plugin.plugins.openpose.networks import Networks
from sd_plugin.plugins.openpose.regions import Points, Region

#: OpenPose's keypoints (n, 3): x, y in pixels, and 1 where there is one; 0, 0, 0 where there is none.
Keypoints = npt.NDArray[np.float64]

MOST_PEOPLE = 10

#: A face is looked for in so many times the square of its eyes, ears and mouth, as MediaPipe Holistic does.
_HEAD_SCALE = 3.0
#: A hand is looked for in so many times the length of the forearm or the upper arm, whichever looks longer.
_ARM_SCALE = 1.6
#: A hand is the arm's if their wrists are no further apart than this part of that square.
_FURTHEST_HAND = 0.35
#: Two hands are one if their landmarks are on average no further apart than this part of the hand.
_SAME_HAND = 0.3


@dataclass(frozen=True, slots=True)
class Person:
    """One person: 18, 70, 21 and 21 keypoints."""

    body: Keypoints
    face: Keypoints | None = None
    left_hand: Keypoints | None = None
    right_hand: Keypoints | None = None

    def scaled(self, by: Points) -> "Person":
        """With every position multiplied by (2,), for a picture of another size."""
        factors = np.append(by, 1.0)
        parts = (self.body, self.face, self.left_hand, self.right_hand)
        body, face, left, right = (None if each is None else each * factors for each in parts)
        assert body is not None
        return Person(body, face, left, right)


#: One arm of a body: its shoulder, elbow and wrist, and its hand's outer knuckles.
_Arm = tuple[Blaze, Blaze, Blaze, Blaze, Blaze]
_LEFT: _Arm = (
    Blaze.LEFT_SHOULDER,
    Blaze.LEFT_ELBOW,
    Blaze.LEFT_WRIST,
    Blaze.LEFT_PINKY,
    Blaze.LEFT_INDEX,
)
_RIGHT: _Arm = (
    Blaze.RIGHT_SHOULDER,
    Blaze.RIGHT_ELBOW,
    Blaze.RIGHT_WRIST,
    Blaze.RIGHT_PINKY,
    Blaze.RIGHT_INDEX,
)


def find(networks: Networks, picture: Pixels, *, hands: bool, faces: bool) -> list[Person]:
    """The people, the surest first, at most `MOST_PEOPLE`; without hands and faces where they are not asked
    for. Raises `ModuleUnavailable` for a network that is not there."""
    bodies = [each for each in landmarks.bodies(networks, picture, MOST_PEOPLE) if _body(each, picture).any()]
    if not bodies and faces:
        alone = landmarks.faces(networks, picture, Region.whole(picture))[:MOST_PEOPLE]
        nobody = np.zeros((len(layouts.BODY), 3))
        return [Person(nobody, face=_inside(layouts.face(mesh), picture)) for mesh in alone]
    held = _hands(networks, picture, bodies) if hands else {}
    return [
        Person(
            body=_body(body, picture),
            face=_face(networks, picture, body) if faces else None,
            left_hand=held.get((index, _LEFT)),
            right_hand=held.get((index, _RIGHT)),
        )
        for index, body in enumerate(bodies)
    ]


def as_json(people: list[Person], height: int, width: int) -> dict[str, Any]:
    """OpenPose's own form of them (its `doc/02_output.md`), with the picture's size as sd-webui-controlnet
    adds it; parts that were not looked for or not found are null."""

    def flat(keypoints: Keypoints | None) -> list[float] | None:
        return None if keypoints is None else [round(float(value), 3) for value in keypoints.ravel()]

    return {
        "people": [
            {
                "pose_keypoints_2d": flat(each.body),
                "face_keypoints_2d": flat(each.face),
                "hand_left_keypoints_2d": flat(each.left_hand),
                "hand_right_keypoints_2d": flat(each.right_hand),
            }
            for each in people
        ],
        "canvas_height": height,
        "canvas_width": width,
    }


def _inside(points: Points, picture: Pixels) -> Keypoints:
    """Those of the points (n, 2) that are in the picture."""
    height, width = picture.shape[:2]
    there = np.all((points >= 0) & (points < (width, height)), axis=1)
    return np.where(there[:, None], np.column_stack([points, there]), 0.0)


def _body(body: Body, picture: Pixels) -> Keypoints:
    """Those of COCO's keypoints that are in the picture and to be seen."""
    middles = [body.points[list(parts)].mean(axis=0) for parts in layouts.BODY.values()]
    seen = [body.visibility[list(parts)].min() >= landmarks.SEEN for parts in layouts.BODY.values()]
    return np.where(np.array(seen)[:, None], _inside(np.array(middles), picture), 0.0)


def _face(networks: Networks, picture: Pixels, body: Body) -> Keypoints | None:
    """The face nearest to where the body has its own."""
    region = Region.around(body.points[layouts.HEAD], _HEAD_SCALE)
    middle = body.points[layouts.HEAD].mean(axis=0)
    meshes = landmarks.faces(networks, picture, region)
    if not meshes:
        return None
    nearest = min(meshes, key=lambda mesh: _apart(mesh.mean(axis=0), middle))
    return _inside(layouts.face(nearest), picture)


def _hands(networks: Networks, picture: Pixels, bodies: list[Body]) -> dict[tuple[int, _Arm], Keypoints]:
    """Each found hand once, by the body's index and the arm: that whose wrist is nearest."""
    claims: list[tuple[float, int, _Arm, Points]] = []
    for index, body in enumerate(bodies):
        for arm in (_LEFT, _RIGHT):
            wrist = body.points[arm[2]]
            if not _inside(wrist[None], picture).any():
                continue
            region = _hand_region(body, arm)
            for hand in landmarks.hands(networks, picture, region):
                claims.append((_apart(hand[0], wrist) / region.side, index, arm, hand))
    held: dict[tuple[int, _Arm], Points] = {}
    for distance, index, arm, hand in sorted(claims, key=lambda claim: claim[0]):
        if distance > _FURTHEST_HAND or (index, arm) in held:
            continue
        if not any(_same_hand(hand, other) for other in held.values()):
            held[index, arm] = hand
    return {key: _inside(hand, picture) for key, hand in held.items()}


def _hand_region(body: Body, arm: _Arm) -> Region:
    shoulder, elbow, wrist, *knuckles = (body.points[part] for part in arm)
    x, y = np.mean(knuckles, axis=0)
    side = max(_apart(wrist, elbow), _apart(elbow, shoulder)) * _ARM_SCALE
    return Region(float(x), float(y), side)


def _same_hand(one: Points, other: Points) -> bool:
    apart = np.hypot(*(one - other).T).mean()
    return bool(apart < _SAME_HAND * np.ptp(one, axis=0).max())


def _apart(one: Points, other: Points) -> float:
    return math.dist(one, other)
