"""People as ControlNet's OpenPose networks know them: coloured figures on black.

The convention is OpenPose's rendering of its COCO model as those networks were trained on it: limbs and
joints in the eighteen hues of the colour wheel, limbs darker; hands with a hue for each bone; faces as white
dots. Sizes are in pixels whatever the picture's size.
"""

import colorsys
import math

import cv2
import numpy as np

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose import layouts
from sd_plugin.plugins.openpose.people import Keypoints, Person

Colour = tuple[int, int, int]

_LIMB_HALF_WIDTH, _JOINT_RADIUS, _LIMB_BRIGHTNESS = 4, 4, 0.6
_BONE_WIDTH, _KNUCKLE_RADIUS = 2, 4
_KNUCKLE_COLOUR: Colour = (0, 0, 255)
_FACE_RADIUS = 3
_FACE_COLOUR: Colour = (255, 255, 255)

#: The body's limbs in the order of their colours, which is also that in which later ones cover earlier ones.
LIMBS: tuple[tuple[str, str], ...] = (
    ("neck", "right shoulder"),
    ("neck", "left shoulder"),
    ("right shoulder", "right elbow"),
    ("right elbow", "right wrist"),
    ("left shoulder", "left elbow"),
    ("left elbow", "left wrist"),
    ("neck", "right hip"),
    ("right hip", "right knee"),
    ("right knee", "right ankle"),
    ("neck", "left hip"),
    ("left hip", "left knee"),
    ("left knee", "left ankle"),
    ("neck", "nose"),
    ("nose", "right eye"),
    ("right eye", "right ear"),
    ("nose", "left eye"),
    ("left eye", "left ear"),
)
#: A hand's bones in the order of their colours: each finger from the wrist to its tip.
BONES: tuple[tuple[int, int], ...] = tuple(
    (0 if joint == first else joint - 1, joint)
    for first in range(1, 21, 4)
    for joint in range(first, first + 4)
)


def wheel(count: int) -> list[Colour]:
    """So many colours, evenly around the colour wheel from red."""
    tones = (colorsys.hsv_to_rgb(index / count, 1.0, 1.0) for index in range(count))
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in tones]


def draw(people: list[Person], height: int, width: int, *, bodies: bool = True) -> Pixels:
    """The map (height, width, 3) of what is known of the people; without their bodies' limbs and joints if
    they are not wanted."""
    canvas = np.zeros((height, width, 3), np.uint8)
    for person in people:
        if bodies:
            _draw_body(canvas, person.body)
        for hand in (person.left_hand, person.right_hand):
            if hand is not None:
                _draw_hand(canvas, hand)
        if person.face is not None:
            _draw_dots(canvas, person.face, _FACE_RADIUS, [_FACE_COLOUR] * len(person.face))
    return canvas


def _draw_body(canvas: Pixels, body: Keypoints) -> None:
    colours = wheel(len(layouts.BODY))
    joints = dict(zip(layouts.BODY, body, strict=True))
    for (start, end), colour in zip(LIMBS, colours[: len(LIMBS)], strict=True):
        if joints[start][2] and joints[end][2]:
            darker = tuple(int(value * _LIMB_BRIGHTNESS) for value in colour)
            _draw_limb(canvas, joints[start], joints[end], darker)
    _draw_dots(canvas, body, _JOINT_RADIUS, colours)


def _draw_limb(canvas: Pixels, start: Keypoints, end: Keypoints, colour: tuple[int, ...]) -> None:
    """An ellipse from one joint to the other."""
    across, down = end[:2] - start[:2]
    middle = (start[:2] + end[:2]) / 2
    axes = (int(math.hypot(across, down) / 2), _LIMB_HALF_WIDTH)
    turned = int(math.degrees(math.atan2(down, across)))
    cv2.ellipse(canvas, (int(middle[0]), int(middle[1])), axes, turned, 0, 360, colour, cv2.FILLED)


def _draw_hand(canvas: Pixels, hand: Keypoints) -> None:
    for (start, end), colour in zip(BONES, wheel(len(BONES)), strict=True):
        if hand[start][2] and hand[end][2]:
            cv2.line(canvas, _pixel(hand[start]), _pixel(hand[end]), colour, _BONE_WIDTH)
    _draw_dots(canvas, hand, _KNUCKLE_RADIUS, [_KNUCKLE_COLOUR] * len(hand))


def _draw_dots(canvas: Pixels, keypoints: Keypoints, radius: int, colours: list[Colour]) -> None:
    for keypoint, colour in zip(keypoints, colours, strict=True):
        if keypoint[2]:
            cv2.circle(canvas, _pixel(keypoint), radius, colour, cv2.FILLED)


def _pixel(keypoint: Keypoints) -> tuple[int, int]:
    return int(keypoint[0]), int(keypoint[1])
