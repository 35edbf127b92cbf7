"""Control maps to other sizes: which are taken for drawings, lines of a pixel, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sd_runtime.tasks import control_maps
from sd_runtime.tasks.recipe import ResizeMode

Flags = npt.NDArray[np.bool_]


def seconds_of(call: Callable[[], object]) -> float:
    """Of this thread's processor."""
    began = time.thread_time()
    call()
    return time.thread_time() - began


def fit(pixels: Any, *size: int) -> Any:
    return control_maps.fit(pixels, size, ResizeMode.STRETCH)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "are_mixed"), [(2, False), (199, False), (200, True), (5000, True)])
def test_colours_are_mixed_where_there_are_two_hundred_or_more(count: int, are_mixed: bool) -> None:
    numbers = np.arange(96 * 96) * 7919 % count
    pixels = np.dstack([numbers % 251, numbers // 251 + 40, numbers % 13]).astype(np.uint8).reshape(96, 96, 3)
    own = {tuple(each) for each in pixels.reshape(-1, 3)}
    assert len(own) == count
    fitted = {tuple(each) for each in fit(pixels, 70, 70).reshape(-1, 3)}
    assert bool(fitted - own) is are_mixed


def test_a_picture_of_nothing_but_noise_is_brought_to_a_size_in_no_time() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), np.uint8)
    assert seconds_of(lambda: fit(noise, 512, 512)) < 2


@pytest.mark.parametrize(
    "source",
    [
        np.eye(64, dtype=bool)[None].repeat(3, axis=0).any(axis=0),
        np.arange(64)[:, None].repeat(64, axis=1) % 4 == 0,
    ],
    ids=["a diagonal", "bars"],
)
def test_lines_of_a_small_map_are_thin_in_a_large_one_soon(source: Flags) -> None:
    small = np.where(source, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=2)
    made: list[Any] = []
    assert seconds_of(lambda: made.append(fit(small, 3072, 3072))) < 4
    on = made[0][..., 0] > 0
    assert on.any()
    # Nowhere a square of two by two.
    assert not (on[1:, 1:] & on[:-1, 1:] & on[1:, :-1] & on[:-1, :-1]).any()


def whole_pictures(lines: Flags) -> Flags:
    """Zhang and Suen's thinning as they write it: all pixels, again and again."""
    lines, changed = np.pad(lines, 1), True
    while changed:
        changed = False
        for side in (0, 1):
            p = [np.roll(lines, shift, (0, 1)) for shift in PLACES]
            count = sum(each.astype(int) for each in p)
            begins = sum((~a & b).astype(int) for a, b in zip(p, p[1:] + p[:1], strict=True))
            up, right, down, left = p[0], p[2], p[4], p[6]
            if side == 0:
                exposed = ~(up & right & down) & ~(right & down & left)
            else:
                exposed = ~(up & right & left) & ~(up & down & left)
            gone = lines & (count >= 2) & (count <= 6) & (begins == 1) & exposed
            lines &= ~gone
            changed = changed or bool(gone.any())
    return lines[1:-1, 1:-1]


#: From a pixel's neighbours to it, clockwise from the one above.
PLACES = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))


def blobs(rng: np.random.Generator, share: float) -> Flags:
    small = Image.fromarray(rng.integers(0, 256, (12, 17), np.uint8))
    large = small.resize((170, 120), Image.Resampling.BICUBIC)
    return np.asarray(np.asarray(large) > 255 * (1 - share))


@pytest.mark.parametrize(
    "lines",
    [
        *(
            np.random.default_rng(seed).random((90, 140)) < share
            for seed, share in enumerate((0.1, 0.5, 0.9))
        ),
        *(blobs(np.random.default_rng(seed), share) for seed, share in enumerate((0.3, 0.5, 0.8))),
        np.ones((40, 40), bool),
        np.zeros((40, 40), bool),
    ],
    ids=lambda lines: f"{lines.mean():.2f}",
)
def test_asking_only_those_concerned_thins_as_asking_all(lines: Flags) -> None:
    before = lines.copy()
    assert np.array_equal(control_maps._thinned(lines), whole_pictures(lines))
    assert np.array_equal(lines, before)
