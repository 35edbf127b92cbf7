from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.models import tiles

lengths = st.integers(1, 400)
tile_sides = st.integers(4, 200)
overlaps = st.integers(0, 100)


@given(length=lengths, tile=tile_sides, overlap=overlaps)
def test_pieces_cover_the_length_are_equal_and_no_longer_than_asked(
    length: int, tile: int, overlap: int
) -> None:
    pieces = tiles.spans(length, tile=tile, overlap=overlap)
    assert (pieces[0][0], pieces[-1][1]) == (0, length)
    assert len({end - start for start, end in pieces}) == 1
    assert pieces[0][1] <= tile
    assert all(later[0] <= earlier[1] for earlier, later in pairwise(pieces))


@given(length=lengths, tile=tile_sides, overlap=overlaps)
def test_no_point_lies_in_three_pieces(length: int, tile: int, overlap: int) -> None:
    pieces = tiles.spans(length, tile=tile, overlap=overlap)
    assert all(third[0] >= first[1] for first, third in zip(pieces, pieces[2:], strict=False))


@given(
    rows=st.integers(1, 60), columns=st.integers(1, 60), tile=st.integers(4, 30), zoom=st.sampled_from([1, 3])
)
def test_a_picture_in_tiles_is_the_picture(rows: int, columns: int, tile: int, zoom: int) -> None:
    picture = torch.rand(1, 2, rows, columns)

    def enlarged(box: tiles.Box) -> torch.Tensor:
        top, bottom, left, right = box
        piece = picture[..., top:bottom, left:right]
        return piece.repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3)

    found = tiles.at_once(
        tiles.joining(enlarged, rows=rows, columns=columns, tile=tile, overlap=4, zoom=zoom)
    )
    assert torch.allclose(found, enlarged((0, rows, 0, columns)), atol=1e-6)


def test_neighbours_fade_into_each_other() -> None:
    levels = iter([0.0, 1.0])
    found = tiles.at_once(
        tiles.joining(
            lambda box: torch.full((1, 1, 1, box[3] - box[2]), next(levels)),
            rows=1,
            columns=28,
            tile=16,
            overlap=4,
        )
    )
    line = found[0, 0, 0]
    assert line[:12].eq(0).all() and line[16:].eq(1).all()
    assert line[12:16].tolist() == [0.125, 0.375, 0.625, 0.875]


def test_what_is_finished_may_take_less_memory_than_what_is_computed() -> None:
    picture = torch.rand(1, 3, 50, 40)

    def piece(box: tiles.Box) -> torch.Tensor:
        top, bottom, left, right = box
        return picture[..., top:bottom, left:right]

    work = tiles.joining(
        piece, rows=50, columns=40, tile=16, overlap=4, finish=lambda band: (band * 255).round().byte()
    )
    found = tiles.at_once(work)
    assert found.dtype == torch.uint8
    assert torch.equal(found, (picture * 255).round().byte())
