"""The generator of NVIDIA's GPUs, against numbers that others published."""

import numpy as np
import pytest

from sd_runtime.sampling.philox import Philox, philox

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_words_are_those_of_the_known_answer_tests_of_random123(
    counter: tuple[int, int, int, int], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    a, b, c, d = (np.array([word], np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox((a, b, c, d), key)) == words


def test_the_normals_are_those_of_a_gpu_with_seed_0() -> None:
    # torch.manual_seed(0); torch.randn(3, 4, device="cuda")
    expected = [
        [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
        [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
        [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ]
    assert Philox(0).normal((3, 4)) == pytest.approx(np.array(expected), abs=1e-6)


def test_later_tensors_and_other_seeds_are_other_noise_of_unit_variance() -> None:
    one, other = Philox(1), Philox(1 + 2**32)
    drawn = [one.normal((4, 64, 64)), one.normal((4, 64, 64)), other.normal((4, 64, 64))]
    for normals in drawn:
        assert float(normals.mean()) == pytest.approx(0, abs=0.03)
        assert float(normals.std()) == pytest.approx(1, abs=0.02)
    assert np.abs(np.corrcoef([normals.ravel() for normals in drawn]) - np.eye(3)).max() < 0.03


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert np.array_equal(Philox(2**64 - 1).normal((5,)), Philox(2**64 - 1).normal((5,)))
