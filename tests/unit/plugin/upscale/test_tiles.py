"""Pictures in tiles, with an enlargement that needs no network."""

from itertools import pairwise

import numpy as np
import pytest

from sd_plugin.module import Pixels
from sd_plugin.plugins.upscale import tiles


def doubled(image: Pixels) -> tiles.Floats:
    return image.repeat(2, 0).repeat(2, 1).astype(np.float32) / 255


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "found"),
    [
        (100, 192, 8, [(0, 100)]),
        (192, 192, 8, [(0, 192)]),
        (200, 192, 8, [(0, 104), (96, 200)]),
        (100, 32, 0, [(0, 25), (25, 50), (50, 75), (75, 100)]),
        (100, 32, 48, [(0, 31), (23, 54), (46, 77), (69, 100)]),
    ],
)
def test_equal_pieces_cover_the_length(
    length: int, tile: int, overlap: int, found: list[tuple[int, int]]
) -> None:
    assert tiles.spans(length, tile=tile, overlap=overlap) == found


@pytest.mark.parametrize("overlap", [0, 1, 8, 48])
@pytest.mark.parametrize("length", range(33, 400, 61))
def test_pieces_are_no_longer_than_a_tile_and_leave_no_gap(length: int, overlap: int) -> None:
    found = tiles.spans(length, tile=32, overlap=overlap)
    assert (found[0][0], found[-1][1]) == (0, length)
    assert all(end - start <= 32 for start, end in found)
    assert all(end >= start for (_, end), (start, _) in pairwise(found))


@pytest.mark.parametrize(("tile", "overlap"), [(256, 8), (32, 0), (32, 8), (50, 13)])
def test_the_shares_of_all_tiles_make_up_the_whole(tile: int, overlap: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (90, 130, 3), np.uint8)
    made = tiles.joined(picture, doubled, tile=tile, overlap=overlap, factor=2)
    assert np.array_equal(made, picture.repeat(2, 0).repeat(2, 1))
