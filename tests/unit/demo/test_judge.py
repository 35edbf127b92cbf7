"""The judge's measures of pictures that need no network."""

from __future__ import annotations

import pytest
import torch

from demo.judge import edges
from demo.judge.distance import distance
from demo.judge.reading import to_judge
from demo.train import controlnet


def filled(value: int, side: int = 8) -> torch.Tensor:
    return torch.full((3, side, side), value, dtype=torch.uint8)


def test_the_distance_is_zero_to_itself_and_one_from_black_to_white() -> None:
    assert distance(filled(255), filled(255)) == 0
    assert distance(filled(255), filled(0)) == 1
    assert distance(filled(0), filled(51)) == pytest.approx(0.2)


def test_pictures_of_different_sizes_have_no_distance() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        distance(filled(0), filled(0, side=4))


def test_edges_may_lie_two_pixels_beside_and_no_more() -> None:
    drawn, _ = controlnet.control_pictures(12, seed=5)
    hints = controlnet.control_maps(drawn)

    def mean(shift: int, roll: int = 0) -> float:
        moved = hints.roll(shift, dims=2).roll(roll, dims=0)
        return sum(edges.agreement(p, h) for p, h in zip(drawn, moved, strict=True)) / len(drawn)

    assert mean(0) == 1
    assert mean(2) > 0.97
    assert mean(8) < 0.6
    assert mean(0, roll=1) < 0.6  # another picture's map


def test_a_picture_without_edges_agrees_with_no_map() -> None:
    drawn, _ = controlnet.control_pictures(1, seed=5)
    hints = controlnet.control_maps(drawn)
    assert edges.agreement(filled(0, side=64), hints[0]) == 0
    assert edges.agreement(drawn[0], torch.zeros_like(hints[0])) == 0


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 128), (512, 512)])
def test_the_judge_gets_every_picture_in_its_size_and_tones(size: tuple[int, int]) -> None:
    pixels = torch.full((2, 3, *size), 128, dtype=torch.uint8)
    assert torch.equal(to_judge(pixels), torch.full((2, 3, 64, 64), 128, dtype=torch.uint8))
