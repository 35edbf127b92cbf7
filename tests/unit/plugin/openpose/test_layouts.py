"""The tables from MediaPipe's landmarks to OpenPose's keypoints."""

import numpy as np
import pytest

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose import landmarks, layouts
from sd_plugin.plugins.openpose.layouts import BODY, FACE_PARTS, Blaze
from sd_plugin.plugins.openpose.networks import Networks
from sd_plugin.plugins.openpose.regions import Points, Region

#: iBUG's parts by their first keypoint and the one after their last.
JAW, RIGHT_BROW, LEFT_BROW, NOSE, NOSTRILS = (0, 17), (17, 22), (22, 27), (27, 31), (31, 36)
RIGHT_EYE, LEFT_EYE, LIPS, MOUTH, PUPILS = (36, 42), (42, 48), (48, 60), (60, 68), (68, 70)


@pytest.fixture(scope="module")
def face(networks: Networks, astronaut: Pixels) -> Points:
    """The astronaut's, who looks at us almost upright."""
    (mesh,) = landmarks.faces(networks, astronaut, Region.whole(astronaut))
    return layouts.face(mesh)


def test_the_body_has_cocos_eighteen_keypoints_and_the_neck_between_the_shoulders() -> None:
    assert len(BODY) == 18
    assert BODY["neck"] == (Blaze.LEFT_SHOULDER, Blaze.RIGHT_SHOULDER)


def test_every_other_keypoint_is_the_landmark_of_its_name() -> None:
    others = {name: parts for name, parts in BODY.items() if name != "neck"}
    assert {name: tuple(part.name for part in parts) for name, parts in others.items()} == {
        name: (name.replace(" ", "_").upper(),) for name in others
    }


def test_the_face_has_sixty_eight_different_landmarks_of_the_mesh() -> None:
    used = [index for part in FACE_PARTS.values() for index in part]
    assert len(used) == len(set(used)) == 68
    assert max(used) < 468


def test_a_face_has_seventy_keypoints(face: Points) -> None:
    assert face.shape == (70, 2)


def test_the_jaw_leads_from_the_right_ear_under_the_chin_to_the_left(face: Points) -> None:
    xs, ys = face[slice(*JAW)].T
    assert np.all(np.diff(xs[2:-2]) > 0)
    assert ys.argmax() == 8
    assert np.all(np.diff(ys[:9]) > 0)
    assert np.all(np.diff(ys[8:]) < 0)


def test_brows_eyes_nose_and_mouth_lie_below_one_another(face: Points) -> None:
    parts = (RIGHT_BROW, RIGHT_EYE, NOSTRILS, LIPS)
    heights = [face[slice(*part)][:, 1].mean() for part in parts]
    assert heights == sorted(heights)


def test_both_brows_lead_from_the_right_to_the_left(face: Points) -> None:
    assert np.all(np.diff(face[RIGHT_BROW[0] : LEFT_BROW[1], 0]) > 0)


def test_the_nose_leads_down_and_the_nostrils_across(face: Points) -> None:
    assert np.all(np.diff(face[slice(*NOSE)][:, 1]) > 0)
    assert np.all(np.diff(face[slice(*NOSTRILS)][:, 0]) > 0)


@pytest.mark.parametrize("ring", [RIGHT_EYE, LEFT_EYE, LIPS, MOUTH])
def test_a_ring_starts_in_its_right_corner_and_goes_over_the_top(face: Points, ring: tuple[int, int]) -> None:
    points = face[slice(*ring)]
    half = len(points) // 2
    assert points[:, 0].argmin() == 0
    assert points[:, 0].argmax() == half
    assert points[1:half, 1].mean() < points[half + 1 :, 1].mean()


def test_each_pupil_is_within_its_eye(face: Points) -> None:
    for pupil, eye in zip(face[slice(*PUPILS)], (RIGHT_EYE, LEFT_EYE), strict=True):
        low, high = face[slice(*eye)].min(axis=0), face[slice(*eye)].max(axis=0)
        assert (low < pupil).all()
        assert (pupil < high).all()
