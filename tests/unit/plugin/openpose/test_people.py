"""Who is found in photographs, and where. Places are in pixels, as an eye sees them in the pictures."""

from collections.abc import Mapping

import cv2
import numpy as np
import pytest
import skimage.data

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose import layouts, people
from sd_plugin.plugins.openpose.networks import Networks
from sd_plugin.plugins.openpose.people import Keypoints, Person

NAMES = list(layouts.BODY)
#: Of the astronaut: those that she shows.
SHOWN = {
    "nose": (225, 125),
    "neck": (208, 248),
    "right shoulder": (110, 240),
    "left shoulder": (305, 256),
    "right eye": (204, 102),
    "left eye": (248, 104),
}
#: Pictures without people, some of which resemble them in parts.
NOBODY = ["coffee", "rocket", "chelsea", "moon", "logo"]


def joint(person: Person, name: str) -> Keypoints:
    return person.body[NAMES.index(name)]


def picture_of(name: str) -> Pixels:
    read = np.asarray(getattr(skimage.data, name)())
    grey = read if read.ndim == 3 else np.repeat(read[..., None], 3, axis=2)
    return (grey * (255 if grey.dtype == bool else 1)).astype(np.uint8)[..., :3].copy()


@pytest.fixture(scope="module")
def woman(networks: Networks, astronaut: Pixels) -> Person:
    (found,) = people.find(networks, astronaut, hands=True, faces=True)
    return found


@pytest.mark.parametrize(("name", "place"), SHOWN.items(), ids=SHOWN)
def test_a_joint_is_where_an_eye_sees_it(name: str, place: tuple[int, int], woman: Person) -> None:
    x, y, there = joint(woman, name)
    assert there == 1
    assert (x, y) == pytest.approx(place, abs=15)


@pytest.mark.parametrize("name", ["left knee", "right ankle", "left ankle", "right hip"])
def test_a_joint_that_the_picture_does_not_show_is_not_there(name: str, woman: Person) -> None:
    assert joint(woman, name).tolist() == [0, 0, 0]


def test_a_face_has_seventy_keypoints_around_the_nose(woman: Person) -> None:
    assert woman.face is not None
    assert woman.face.shape == (70, 3)
    assert (woman.face[:, 2] == 1).all()
    assert woman.face[30, :2] == pytest.approx(joint(woman, "nose")[:2], abs=12)


def test_hands_that_hang_out_of_the_picture_are_not_told_of(woman: Person) -> None:
    assert woman.left_hand is None
    assert woman.right_hand is None


def test_in_a_mirror_right_and_left_change_places(
    networks: Networks, astronaut: Pixels, woman: Person
) -> None:
    (mirrored,) = people.find(networks, astronaut[:, ::-1].copy(), hands=False, faces=False)
    for name, other in (("right shoulder", "left shoulder"), ("left eye", "right eye"), ("nose", "nose")):
        x, y, _ = joint(woman, name)
        assert joint(mirrored, other)[:2] == pytest.approx((512 - x, y), abs=15)


def test_two_people_side_by_side_are_both_found(networks: Networks, astronaut: Pixels) -> None:
    both = np.hstack([astronaut, astronaut[:, ::-1]])
    found = people.find(networks, both, hands=False, faces=True)
    noses = sorted(joint(person, "nose")[0] for person in found)
    assert noses == pytest.approx([225, 1024 - 225], abs=15)
    assert all(person.face is not None for person in found)


def test_no_more_people_are_told_of_than_the_bound(
    networks: Networks, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "MOST_PEOPLE", 1)
    both = np.hstack([astronaut, astronaut[:, ::-1]])
    assert len(people.find(networks, both, hands=False, faces=False)) == 1


def test_small_people_in_a_large_picture_are_found_in_its_parts(
    networks: Networks, astronaut: Pixels
) -> None:
    wide = np.full((512, 1536, 3), 120, np.uint8)
    wide[200:456, 100:356] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    (found,) = people.find(networks, wide, hands=False, faces=True)
    assert joint(found, "nose")[:2] == pytest.approx((100 + 225 / 2, 200 + 125 / 2), abs=10)
    assert found.face is not None


@pytest.mark.parametrize("name", NOBODY)
def test_pictures_without_people_have_none(name: str, networks: Networks) -> None:
    assert people.find(networks, picture_of(name), hands=True, faces=True) == []


@pytest.mark.parametrize("name", ["belt", "knees"])
def test_crossed_arms_lead_to_the_other_side(
    name: str, networks: Networks, portraits: Mapping[str, Pixels]
) -> None:
    (found,) = people.find(networks, portraits[name], hands=False, faces=False)
    right, left = joint(found, "right wrist"), joint(found, "left wrist")
    assert right[2] == left[2] == 1
    assert left[0] < joint(found, "neck")[0] < right[0]


def test_a_hand_is_found_where_its_fingers_are(networks: Networks, portraits: Mapping[str, Pixels]) -> None:
    (found,) = people.find(networks, portraits["belt"], hands=True, faces=False)
    hand = found.right_hand
    assert hand is not None
    assert hand.shape == (21, 3)
    assert hand[:, :2].mean(axis=0) == pytest.approx((330, 420), abs=30)
    assert found.left_hand is None or not np.array_equal(found.left_hand, hand)


def test_hands_and_faces_are_looked_for_only_where_they_are_asked_for(
    networks: Networks, portraits: Mapping[str, Pixels]
) -> None:
    (found,) = people.find(networks, portraits["belt"], hands=False, faces=False)
    assert (found.face, found.left_hand, found.right_hand) == (None, None, None)


def test_the_json_is_openposes(woman: Person) -> None:
    told = people.as_json([woman], 512, 600)
    assert (told["canvas_height"], told["canvas_width"]) == (512, 600)
    (person,) = told["people"]
    assert {key: value and len(value) for key, value in person.items()} == {
        "pose_keypoints_2d": 54,
        "face_keypoints_2d": 210,
        "hand_left_keypoints_2d": None,
        "hand_right_keypoints_2d": None,
    }
    assert person["pose_keypoints_2d"][:3] == pytest.approx([*SHOWN["nose"], 1], abs=15)
    assert set(person["pose_keypoints_2d"][2::3]) == {0.0, 1.0}


def test_the_json_of_nobody_has_no_people() -> None:
    assert people.as_json([], 8, 9) == {"people": [], "canvas_height": 8, "canvas_width": 9}


def test_scaling_moves_every_keypoint_and_keeps_what_is_missing(woman: Person) -> None:
    scaled = woman.scaled(np.array([2.0, 0.5]))
    assert joint(scaled, "nose") == pytest.approx(joint(woman, "nose") * (2, 0.5, 1))
    assert joint(scaled, "left ankle").tolist() == [0, 0, 0]
    assert scaled.face is not None
    assert scaled.left_hand is None
