"""Anchors, decoding and suppression of the detecting networks."""

import numpy as np
import pytest

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose import detection
from sd_plugin.plugins.openpose.detection import BODY, FACE, PALM, Detector
from sd_plugin.plugins.openpose.networks import Networks
from sd_plugin.plugins.openpose.regions import Region

#: How many boxes the networks answer with (`num_boxes` in MediaPipe's graphs), for inputs of a side.
BOXES = [(BODY, 224, 2254), (PALM, 192, 2016), (FACE, 128, 896)]


@pytest.mark.parametrize(("detector", "side", "count"), BOXES, ids=[each[0].model for each in BOXES])
def test_there_is_an_anchor_for_each_box(
    detector: Detector, side: int, count: int, networks: Networks
) -> None:
    assert networks[detector.model].side == side
    assert detection.anchors(side, detector.strides).shape == (count, 2)


def test_anchors_come_in_pairs_in_the_middles_of_their_cells_row_by_row_and_coarser_grids_last() -> None:
    places = detection.anchors(128, FACE.strides)
    assert places[:4].tolist() == [[4 / 128, 4 / 128]] * 2 + [[12 / 128, 4 / 128]] * 2
    assert places[32].tolist() == [4 / 128, 12 / 128]
    assert places[512:519].tolist() == [[8 / 128, 8 / 128]] * 6 + [[24 / 128, 8 / 128]]
    assert places[-1].tolist() == [120 / 128, 120 / 128]


def test_a_box_and_its_keypoints_are_relative_to_their_anchor() -> None:
    raw = np.array([[16, 0, 32, 64, -16, 8]], np.float32)
    scores, rows = detection.decode((raw, np.zeros((1, 1), np.float32)), np.array([[0.5, 0.25]]), 128)
    assert scores.tolist() == [0.5]
    assert rows[0].tolist() == [[0.5, 0.0], [0.75, 0.5], [0.375, 0.3125]]


def test_a_score_is_between_none_and_one_however_large_the_network_answers() -> None:
    logits = np.array([[-1e30], [1e30]], np.float32)
    scores, _ = detection.decode((np.zeros((2, 4), np.float32), logits), np.zeros((2, 2)), 128)
    assert 0 <= scores[0] < 1e-40
    assert scores[1] == 1


def test_boxes_of_one_thing_become_their_mean_by_score_and_others_stay() -> None:
    rows = np.array([[[0, 0], [4, 4]], [[10, 10], [12, 12]], [[1, 0], [5, 4]]], float)
    kept = list(detection.suppressed(np.array([0.6, 0.7, 0.9]), rows))
    assert [score for score, _ in kept] == [0.9, 0.7]
    assert kept[0][1] == pytest.approx(np.array([[0.6, 0], [4.6, 4]]))
    assert kept[1][1].tolist() == rows[1].tolist()


def test_a_box_without_an_area_is_kept_once() -> None:
    rows = np.zeros((2, 2, 2))
    assert len(list(detection.suppressed(np.array([0.9, 0.8]), rows))) == 2


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_face_is_found_where_it_is_in_a_picture_that_is_not_square(
    side: str, networks: Networks, astronaut: Pixels
) -> None:
    wide = np.zeros((512, 800, 3), np.uint8)
    left = 0 if side == "left" else 288
    wide[:, left : left + 512] = astronaut
    (face,) = detection.find(FACE, networks, wide, Region.whole(wide))
    right_eye, left_eye = face.keypoints[:2] - (left, 0)
    assert right_eye == pytest.approx([204, 102], abs=15)
    assert left_eye == pytest.approx([248, 104], abs=15)
