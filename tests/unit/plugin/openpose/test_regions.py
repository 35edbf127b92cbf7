"""Squares of pictures, and the way from what a network sees back to pixels."""

import math

import numpy as np
import pytest

from sd_plugin.plugins.openpose.regions import Region, angle_between

CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])


def test_the_corners_of_a_square_that_is_not_turned_lie_half_its_side_around_its_middle() -> None:
    assert Region(10, 20, 8).points(CORNERS).tolist() == [[6, 16], [14, 16], [14, 24], [6, 24]]


def test_a_quarter_turn_clockwise_moves_the_top_left_corner_to_the_top_right() -> None:
    turned = Region(10, 20, 8, math.pi / 2).points(CORNERS)
    assert turned[0] == pytest.approx([14, 16])
    assert turned[1] == pytest.approx([14, 24])


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, math.pi])
def test_what_a_crop_shows_at_a_place_is_in_the_picture_where_that_place_leads(angle: float) -> None:
    ys, xs = np.mgrid[0:120, 0:160]
    picture = np.stack([xs, ys, xs + ys], axis=2).clip(0, 255).astype(np.uint8)
    region = Region(80, 60, 50, angle)
    shown = region.crop(picture, 100, outside="black")
    for row, column in ((10, 20), (50, 50), (90, 30)):
        x, y = region.points(np.array([(column / 100, row / 100)]))[0]
        assert shown[row, column, :2] == pytest.approx([x, y], abs=1)


def test_outside_the_picture_is_black_or_as_its_edge() -> None:
    picture = np.full((20, 40, 3), 90, np.uint8)
    whole = Region.whole(picture)
    assert whole.crop(picture, 40, outside="black")[[0, 20, 39], 20, 0].tolist() == [0, 90, 0]
    assert (whole.crop(picture, 40, outside="edge") == 90).all()


@pytest.mark.parametrize("size", [(512, 512), (600, 200), (200, 600), (33, 1000), (1, 1)])
def test_the_parts_cover_the_whole_picture(size: tuple[int, int]) -> None:
    covered = np.zeros(size, bool)
    for part in Region.parts(np.zeros((*size, 3), np.uint8)):
        low, high = np.floor(part.points(CORNERS)[0]), np.ceil(part.points(CORNERS)[2])
        (left, top), (right, bottom) = low.clip(0).astype(int), high.astype(int)
        covered[top:bottom, left:right] = True
    assert covered.all()


@pytest.mark.parametrize(
    ("end", "upright", "turned"),
    [
        ((0, -1), math.pi / 2, 0),
        ((1, 0), math.pi / 2, math.pi / 2),
        ((0, 1), math.pi / 2, -math.pi),
        ((1, 0), 0, 0),
        ((1, 1), 0, math.pi / 4),
    ],
)
def test_the_angle_is_that_of_the_way_from_where_it_points_upright(
    end: tuple[int, int], upright: float, turned: float
) -> None:
    assert angle_between(np.zeros(2), np.array(end, float), upright) == pytest.approx(turned)
