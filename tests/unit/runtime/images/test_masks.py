"""Masks: softened, surrounded, filled, laid over."""

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.images import masks
from sd_runtime.images.masks import Region


def mask_with(width, height, *white):
    mask = np.zeros((height, width), dtype=np.uint8)
    for left, top, right, bottom in white:
        mask[top:bottom, left:right] = 255
    return mask


@pytest.mark.parametrize(("x", "y"), [(4, 4), (0, 8), (8, 0), (1, 30)])
def test_softening_is_the_gaussian_that_opencv_makes(x, y):
    mask = mask_with(60, 50, (20, 10, 40, 30), (58, 0, 60, 50))
    expected = mask
    if x:
        expected = cv2.GaussianBlur(expected, (2 * int(2.5 * x + 0.5) + 1, 1), x)
    if y:
        expected = cv2.GaussianBlur(expected, (1, 2 * int(2.5 * y + 0.5) + 1), y)
    assert np.abs(masks.blur(mask, x, y).astype(int) - expected).max() <= 2


def test_a_mask_that_is_all_white_or_all_black_stays_so():
    for value in (0, 255):
        mask = np.full((9, 5), value, dtype=np.uint8)
        assert np.array_equal(masks.blur(mask, 20, 20), mask)


@pytest.mark.parametrize(
    ("white", "padding", "proportions", "expected"),
    [
        ((40, 40, 60, 60), 0, (512, 512), (40, 40, 60, 60)),
        ((40, 40, 60, 60), 10, (512, 512), (30, 30, 70, 70)),
        ((40, 40, 60, 60), 64, (512, 512), (0, 0, 100, 100)),
        ((20, 40, 80, 50), 0, (512, 512), (20, 15, 80, 75)),
        ((40, 20, 50, 80), 0, (2, 1), (0, 20, 100, 80)),
        ((20, 0, 80, 10), 0, (1, 1), (20, 0, 80, 60)),
        ((20, 90, 80, 100), 0, (1, 1), (20, 40, 80, 100)),
        ((0, 0, 1, 1), 0, (512, 512), (0, 0, 1, 1)),
    ],
    ids=[
        "has the proportions",
        "is padded",
        "padding ends at the edges",
        "is made higher",
        "is as wide as there is room",
        "is moved down from the upper edge",
        "is moved up from the lower edge",
        "a single pixel",
    ],
)
def test_the_region_has_all_that_is_masked_in_the_proportions_asked_for(
    white, padding, proportions, expected
):
    assert masks.region(mask_with(100, 100, white), padding, proportions) == Region(*expected)


@given(st.data())
def test_a_region_is_inside_the_picture_and_has_the_mask(data):
    width, height = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 80))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    proportions = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    mask = mask_with(width, height, (left, top, right, bottom))
    found = masks.region(mask, data.draw(st.integers(0, 50)), proportions)
    assert 0 <= found.left <= left and right <= found.right <= width
    assert 0 <= found.top <= top and bottom <= found.bottom <= height


def test_filling_takes_the_colours_around_and_keeps_what_is_not_masked():
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[:] = (10, 120, 200)
    picture[24:40, 24:40] = (255, 0, 0)
    filled = masks.fill(picture, mask_with(64, 64, (20, 20, 44, 44)))
    assert np.abs(filled.astype(int) - (10, 120, 200)).max() <= 6


def test_filling_without_anything_to_take_colours_from_is_black_and_no_warning():
    assert masks.fill(np.full((8, 8, 3), 9, dtype=np.uint8), np.full((8, 8), 255, dtype=np.uint8)).max() == 0


def test_the_original_is_laid_over_by_the_mask():
    drawn, original = np.full((1, 3, 3), 200, dtype=np.uint8), np.full((1, 3, 3), 100, dtype=np.uint8)
    mask = np.array([[0, 51, 255]], dtype=np.uint8)
    assert masks.overlay(drawn, original, mask)[0, :, 0].tolist() == [100, 120, 200]


def test_a_part_is_pasted_in_its_place_and_the_whole_is_not_changed():
    whole, part = np.zeros((4, 4, 3), dtype=np.uint8), np.ones((2, 1, 3), dtype=np.uint8)
    pasted = masks.paste(whole, part, Region(1, 2, 2, 4))
    assert pasted[2:4, 1:2].min() == 1
    assert pasted.sum() == part.sum()
    assert whole.max() == 0


@pytest.mark.parametrize("size", [(10_000, 4), (4, 10_000)])
def test_a_long_mask_is_softened_and_laid_over_in_memory_of_its_own_size(size):
    mask = mask_with(*size, (0, 0, 2, 2))
    picture = np.repeat(mask[..., None], 3, axis=2)
    tracemalloc.start()
    try:
        masks.overlay(picture, picture, masks.blur(mask, 128, 128))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Each of its short lines becomes a hundred times as long by what is mirrored.
    assert peak < 80 * 2**20
