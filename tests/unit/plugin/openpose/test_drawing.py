"""The colours and shapes of the maps. Where something is drawn is told in pixels of hand-made people."""

import itertools

import numpy as np
import pytest

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose import drawing, layouts
from sd_plugin.plugins.openpose.people import Keypoints, Person

#: OpenPose's colours of COCO's keypoints and limbs.
WHEEL = [
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
]
NAMES = list(layouts.BODY)


def keypoints(count: int, places: dict[int, tuple[float, float]]) -> Keypoints:
    rows = np.zeros((count, 3))
    for index, (x, y) in places.items():
        rows[index] = (x, y, 1)
    return rows


def body(**places: tuple[float, float]) -> Person:
    return Person(keypoints(18, {NAMES.index(name.replace("_", " ")): at for name, at in places.items()}))


def colours(drawn: Pixels) -> set[tuple[int, ...]]:
    return {tuple(each) for each in np.unique(drawn.reshape(-1, 3), axis=0).tolist()} - {(0, 0, 0)}


def at(drawn: Pixels, x: int, y: int) -> tuple[int, ...]:
    return tuple(drawn[y, x].tolist())


def test_the_eighteen_hues_are_openposes() -> None:
    assert drawing.wheel(18) == WHEEL


def test_nobody_is_black() -> None:
    drawn = drawing.draw([], 30, 50)
    assert drawn.shape == (30, 50, 3)
    assert drawn.dtype == np.uint8
    assert not drawn.any()


@pytest.mark.parametrize("index", range(18), ids=NAMES)
def test_a_joint_has_the_hue_of_its_place_in_the_list(index: int) -> None:
    drawn = drawing.draw([Person(keypoints(18, {index: (20, 10)}))], 30, 50)
    assert colours(drawn) == {WHEEL[index]}
    assert [at(drawn, 20 + off, 10) == WHEEL[index] for off in (-5, -4, 0, 4, 5)] == [
        False,
        *[True] * 3,
        False,
    ]


@pytest.mark.parametrize("index", range(17), ids=[" to ".join(limb) for limb in drawing.LIMBS])
def test_a_limb_has_the_hue_of_its_place_in_the_list_darkened(index: int) -> None:
    ends = [NAMES.index(name) for name in drawing.LIMBS[index]]
    drawn = drawing.draw([Person(keypoints(18, {ends[0]: (20, 40), ends[1]: (120, 40)}))], 80, 140)
    darker = tuple(int(0.6 * value) for value in WHEEL[index])
    assert [at(drawn, 70, 40 + off) == darker for off in (-5, -4, 0, 4, 5)] == [False, *[True] * 3, False]
    assert colours(drawn) == {darker, WHEEL[ends[0]], WHEEL[ends[1]]}


def test_a_limb_is_thick_in_its_middle_and_thin_at_its_ends() -> None:
    drawn = drawing.draw([body(neck=(20, 40), nose=(220, 40))], 80, 240)
    thickness = [int(drawn[:, x].any(axis=1).sum()) for x in (26, 70, 120, 170, 214)]
    assert thickness == sorted(thickness[:3]) + sorted(thickness[3:], reverse=True)
    assert thickness[2] == 9
    assert thickness[0] < 6


def test_a_limb_is_drawn_only_between_joints_that_are_there() -> None:
    drawn = drawing.draw([body(neck=(20, 20), right_elbow=(60, 60))], 80, 80)
    assert colours(drawn) == {WHEEL[1], WHEEL[3]}


def test_a_slanting_limb_leads_from_joint_to_joint() -> None:
    drawn = drawing.draw([body(left_hip=(20, 10), left_knee=(80, 110))], 120, 100)
    assert all(drawn[10 + 5 * step, 20 + 3 * step].any() for step in range(21))
    assert not drawn[100, 20].any()


def test_a_hand_has_a_hue_for_each_bone_and_blue_knuckles() -> None:
    places = {index: (20.0 + 60 * (index % 5), 20.0 + 60 * (index // 5)) for index in range(21)}
    drawn = drawing.draw([Person(keypoints(18, {}), left_hand=keypoints(21, places))], 320, 320)
    assert set(drawing.wheel(20)) | {(0, 0, 255)} == colours(drawn)
    assert at(drawn, 20, 20) == (0, 0, 255)
    assert at(drawn, 50, 20) == (255, 0, 0)  # the thumb's first bone, from the wrist


def test_the_bones_lead_from_the_wrist_along_each_finger() -> None:
    fingers = [drawing.BONES[first : first + 4] for first in range(0, 20, 4)]
    assert [finger[0][0] for finger in fingers] == [0] * 5
    joints = [itertools.pairwise(finger) for finger in fingers]
    assert all(one[1] == following[0] for finger in joints for one, following in finger)
    assert [finger[-1][1] for finger in fingers] == [4, 8, 12, 16, 20]


def test_a_face_is_white_dots() -> None:
    drawn = drawing.draw([Person(keypoints(18, {}), face=keypoints(70, {3: (20, 20), 69: (60, 20)}))], 40, 80)
    assert colours(drawn) == {(255, 255, 255)}
    assert [at(drawn, 20 + off, 20) != (0, 0, 0) for off in (-4, -3, 3, 4)] == [False, True, True, False]
    assert drawn[20, 60].any()


def test_without_bodies_only_hands_and_faces_are_drawn() -> None:
    person = Person(keypoints(18, {0: (10, 10), 1: (30, 30)}), face=keypoints(70, {0: (60, 20)}))
    assert colours(drawing.draw([person], 40, 80, bodies=False)) == {(255, 255, 255)}


def test_what_lies_partly_outside_the_map_is_cut() -> None:
    assert drawing.draw([body(neck=(0, 0), nose=(39.9, 19.9))], 20, 40).shape == (20, 40, 3)
