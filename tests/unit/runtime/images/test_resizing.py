"""Sizes: what is stretched, cut and continued."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.images import resizing

sides = st.integers(1, 40)
sizes = st.tuples(sides, sides)


@given(sizes, sizes)
def test_covering_leaves_nothing_free_and_touches_on_one_side(source, target):
    found = resizing.covering(source, target)
    assert found[0] >= target[0] and found[1] >= target[1]
    assert found[0] == target[0] or found[1] == target[1]


@given(sizes, sizes)
def test_within_lets_nothing_stand_out_and_touches_on_one_side(source, target):
    found = resizing.within(source, target)
    assert 1 <= found[0] <= target[0] and 1 <= found[1] <= target[1]
    assert found[0] == target[0] or found[1] == target[1]


@given(sizes, sizes)
def test_every_way_ends_in_the_size_asked_for(source, target):
    pixels = np.zeros((source[1], source[0], 3), dtype=np.uint8)
    for way in (resizing.lanczos, resizing.nearest, resizing.crop, resizing.fill, resizing.centre):
        assert resizing.size_of(way(pixels, target)) == target


@pytest.mark.parametrize(
    ("wide", "there"),
    [(2, [3, 4]), (3, [3, 4, 5]), (4, [2, 3, 4, 5]), (8, [1, 1, 2, 3, 4, 5, 6, 6])],
)
def test_the_middle_is_kept_and_edges_are_continued(wide, there):
    assert resizing.centre(np.array([[1, 2, 3, 4, 5, 6]], dtype=np.uint8), (wide, 1)).tolist() == [there]


def test_a_mask_goes_the_same_way_as_a_picture():
    assert resizing.crop(np.zeros((10, 20), dtype=np.uint8), (8, 8)).shape == (8, 8)


def test_a_picture_that_has_the_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 255, (8, 6, 3), dtype=np.uint8)
    assert np.array_equal(resizing.lanczos(pixels, (6, 8)), pixels)


def test_nearest_makes_no_new_colours():
    pixels = np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    assert resizing.nearest(pixels, (4, 1))[0, :, 0].tolist() == [0, 0, 255, 255]


def smooth(width, height):
    x, y = np.linspace(0, 3, width), np.linspace(0, 5, height)[:, None]
    shades = 128 + 100 * np.sin(x + y) * np.cos(x - 2 * y)
    return np.repeat(shades.astype(np.uint8)[..., None], 3, axis=2)


@given(sizes, sizes)
def test_cropping_keeps_what_the_middle_of_the_covering_picture_shows(source, target):
    pixels = smooth(*source)
    covering = resizing.lanczos(pixels, resizing.covering(source, target))
    expected = resizing.centre(covering, target)
    assert np.abs(resizing.crop(pixels, target).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("source", [(4, 8000), (8000, 4)])
def test_cropping_a_long_picture_takes_no_more_memory_than_its_source_and_result(source):
    pixels = smooth(*source)
    tracemalloc.start()
    try:
        resizing.crop(pixels, (64, 64))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The covering picture would be 64 x 128000.
    assert peak < 2**20


def test_a_part_is_cut_with_what_is_around_it_and_stays_the_same_part():
    pixels = smooth(100, 20)
    box = resizing.Box(40.5, 0, 60.25, 20)
    cut, placed = resizing.cut(pixels, box, 8)
    assert np.array_equal(cut, pixels[:, 32:69])
    assert placed == (8.5, 0, 28.25, 20)
    assert np.array_equal(resizing.lanczos(cut, (30, 30), placed), resizing.lanczos(pixels, (30, 30), box))
