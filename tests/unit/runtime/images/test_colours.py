"""Colours of one picture for another."""

import cv2
import numpy as np

from sd_runtime.images import colours

NOISE = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)


def test_lab_is_that_of_opencv_and_the_way_back_is_exact():
    expected = cv2.cvtColor(NOISE.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab = colours._to_lab(NOISE)
    assert np.abs(lab - expected).max() < 0.5
    assert np.abs(colours._from_lab(lab) * 255 - NOISE).max() < 0.01


def test_a_picture_matched_to_itself_stays_nearly_as_it_is():
    assert np.abs(colours.match(NOISE, NOISE).astype(int) - NOISE).mean() < 3


def test_the_result_has_the_hue_of_the_reference_and_the_brightness_of_the_picture():
    ramp = np.linspace(60, 200, 32)[None, :, None]
    picture = (np.ones((32, 1, 1)) * ramp * np.array([1, 1, 1])).astype(np.uint8)
    reference = np.full((32, 32, 3), (150, 100, 90), dtype=np.uint8)
    matched = colours.match(picture, reference).astype(int)
    assert (matched[..., 0] > matched[..., 1]).all() and (matched[..., 1] > matched[..., 2]).all()
    light = np.array([0.3, 0.59, 0.11])
    assert np.abs(matched @ light - picture @ light).max() < 2


def test_extremes_stay_inside_the_range():
    black, white = np.zeros((4, 4, 3), dtype=np.uint8), np.full((4, 4, 3), 255, dtype=np.uint8)
    vivid = np.full((4, 4, 3), (255, 0, 255), dtype=np.uint8)
    assert colours.match(black, vivid).max() <= 1
    assert colours.match(white, vivid).min() >= 254
