from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from sd_runtime.sampling import noise
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.sampling.philox import Philox
from sd_runtime.sampling.settings import NoiseSettings, NoiseSource

SHAPE = (4, 8, 6)
CPU = torch.device("cpu")
SOURCES = list(NoiseSource)


def image(shape: tuple[int, int, int] = SHAPE, **settings: Any) -> ImageNoise:
    return ImageNoise(NoiseSettings(**{"seed": 11, **settings}), shape, CPU, 8)


def generated(seed: int, *shapes: tuple[int, int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((1, *shape), generator=generator) for shape in shapes]


def test_the_cpu_source_is_torchs_generator_of_the_seed() -> None:
    ours = image()
    first, second, third = generated(11, SHAPE, SHAPE, SHAPE)
    assert torch.equal(ours.first(), first)
    assert torch.equal(ours.further(2.0, 1.0), second)
    assert torch.equal(ours.further(1.0, 0.5), third)


def test_the_nv_source_is_philox_of_the_seed() -> None:
    ours, philox = image(source=NoiseSource.NV), Philox(11)
    for drawn in (ours.first(), ours.further(2.0, 1.0)):
        assert torch.equal(drawn[0], torch.from_numpy(philox.normal(SHAPE)))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("seed", [0, 2**32, 2**64 - 1])
def test_noise_is_a_row_of_single_precision(source: NoiseSource, seed: int) -> None:
    drawn = image(seed=seed, source=source).first()
    assert (drawn.shape, drawn.dtype) == ((1, *SHAPE), torch.float32)


@pytest.mark.parametrize("source", SOURCES)
def test_a_subseeds_strength_goes_from_one_noise_to_the_other(source: NoiseSource) -> None:
    mixed = [
        image(source=source, subseed=12, subseed_strength=strength).first() for strength in (0.0, 0.5, 1.0)
    ]
    assert torch.equal(mixed[0], image(source=source).first())
    assert torch.allclose(mixed[2], image(source=source, seed=12).first(), atol=1e-5)
    assert float((mixed[1] - (mixed[0] + mixed[2]) / 2).abs().max()) > 0.1  # an arc is no chord


def test_mixed_noise_keeps_its_variance() -> None:
    drawn = image((4, 64, 64), subseed=12, subseed_strength=0.5).first()
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.02)


def test_the_arc_is_that_of_each_column() -> None:
    low, high = generated(1, SHAPE)[0][0], generated(2, SHAPE)[0][0]
    ours = noise.between(low, high, 0.3)
    for channel in range(4):
        for column in range(6):
            a, b = low[channel, :, column], high[channel, :, column]
            arc = torch.acos(a @ b / (a.norm() * b.norm()))
            expected = (torch.sin(0.7 * arc) * a + torch.sin(0.3 * arc) * b) / torch.sin(arc)
            assert torch.allclose(ours[channel, :, column], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [SHAPE, (4, 1, 6)])
def test_mixing_a_noise_with_one_that_is_parallel_to_it_leaves_numbers(shape: tuple[int, int, int]) -> None:
    same = image(shape, subseed=11, subseed_strength=0.4).first()
    assert torch.allclose(same, image(shape).first(), atol=1e-5)
    assert torch.isfinite(image(shape, subseed=12, subseed_strength=0.4).first()).all()


@pytest.mark.parametrize(
    ("pixels", "taken", "place"),  # width and height of the other picture; (rows, columns) of noise
    [
        ((32, 48), ((0, 6), (0, 4)), ((1, 7), (1, 5))),  # smaller: in the middle
        ((64, 80), ((1, 9), (1, 7)), ((0, 8), (0, 6))),  # larger: its middle
        ((32, 80), ((1, 9), (0, 4)), ((0, 8), (1, 5))),
        ((56, 64), ((0, 8), (1, 6)), ((0, 8), (0, 5))),  # one column too many: one is lost on either side
        ((40, 64), ((0, 8), (0, 5)), ((0, 8), (0, 5))),
    ],
)
def test_seed_resize_pastes_the_other_sizes_noise_into_the_middle(
    pixels: tuple[int, int], taken: Any, place: Any
) -> None:
    other = generated(11, (4, pixels[1] // 8, pixels[0] // 8))[0]
    expected = generated(11, SHAPE)[0].clone()
    (top, bottom), (left, right) = taken
    (to_top, to_bottom), (to_left, to_right) = place
    expected[:, :, to_top:to_bottom, to_left:to_right] = other[:, :, top:bottom, left:right]
    assert torch.equal(image(resize_from=pixels).first(), expected)


def test_a_resize_from_the_same_size_changes_nothing() -> None:
    assert torch.equal(image(resize_from=(48, 64)).first(), image().first())


@pytest.mark.parametrize(("seed", "delta", "then"), [(11, 5, 16), (11, -12, 2**64 - 1), (2**64 - 1, 1, 0)])
def test_a_seed_delta_counts_for_all_noise_but_the_first(seed: int, delta: int, then: int) -> None:
    ours = image(seed=seed, seed_delta=delta)
    assert torch.equal(ours.first(), image(seed=seed).first())
    assert torch.equal(ours.further(2.0, 1.0), image(seed=then).first())


def test_brownian_noise_has_unit_variance_and_sums_up_to_the_same_over_any_steps() -> None:
    def path(levels: list[float]) -> torch.Tensor:
        draw = image((4, 16, 16)).brownian(0.1, 10.0)
        parts = [draw(a, b) for a, b in pairwise(levels)]
        assert all(0.9 < float(part.std()) < 1.1 for part in parts)
        steps = pairwise(levels)
        return torch.stack([p * (a - b) ** 0.5 for p, (a, b) in zip(parts, steps, strict=True)]).sum(0)

    few, many = path([10.0, 1.0, 0.1]), path([10.0, 7.0, 3.0, 1.0, 0.5, 0.1])
    assert float((few - many).abs().max()) < 2e-2


def test_brownian_noise_is_the_seeds_alone() -> None:
    settings = NoiseSettings(seed=11)
    others = replace(settings, subseed=4, subseed_strength=0.5, seed_delta=7, source=NoiseSource.NV)
    draws = [ImageNoise(each, SHAPE, CPU, 8).brownian(0.1, 10.0) for each in (settings, others)]
    assert torch.equal(draws[0](10.0, 1.0), draws[1](10.0, 1.0))
    other_seed = image(seed=12).brownian(0.1, 10.0)
    assert not torch.equal(draws[0](1.0, 0.5), other_seed(1.0, 0.5))
