"""Several pictures as one."""

import numpy as np
import pytest

from sd_runtime.images.grid import grid


def picture(value, width=2, height=2):
    return np.full((height, width, 3), value, dtype=np.uint8)


@pytest.mark.parametrize(
    ("count", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 2, 2), (5, 2, 3), (9, 3, 3), (12, 3, 4)],
)
def test_there_are_about_as_many_rows_as_columns(count, rows, columns):
    assert grid([picture(1)] * count).shape == (2 * rows, 2 * columns, 3)


def test_pictures_stand_in_order_on_black():
    whole = grid([picture(1), picture(2), picture(3)], rows=2)
    assert whole[::2, ::2, 0].tolist() == [[1, 2], [3, 0]]


def test_each_place_is_as_large_as_the_largest():
    assert grid([picture(1, 2, 5), picture(2, 7, 1)], rows=1).shape == (5, 14, 3)
