"""What each module of controlnet-basic makes of a photograph or of a picture whose map is known."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from sd_plugin import archive
from sd_plugin.errors import InvalidParameter
from sd_plugin.module import Pixels
from sd_plugin.plugins import basic
from sd_plugin.resolution import at_resolution, size_at

_MODULES = {each.description.name: each for each in basic.plugin().modules}


def made(name: str, image: Pixels, **parameters: float) -> Pixels:
    module = _MODULES[name]
    return module.run(image.copy(), None, archive.judged(parameters, module.description)).image


def squares() -> Pixels:
    """Black and white squares of 64 pixels, 512x512."""
    down, across = np.mgrid[0:512, 0:512] // 64 % 2
    return np.repeat(((down ^ across) * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def test_the_modules_are_those_of_sd_webui_controlnet_that_need_no_weights() -> None:
    assert set(_MODULES) == {
        "canny",
        "invert",
        "blur_gaussian",
        "threshold",
        "scribble_xdog",
        "lineart_standard",
        "shuffle",
        "tile_resample",
        "tile_colorfix",
        "tile_colorfix+sharp",
        "recolor_luminance",
        "recolor_intensity",
    }


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("canny", [(64, 512, 2048), (1, 100, 255), (1, 200, 255)]),
        ("blur_gaussian", [(64, 512, 2048), (0.01, 9.0, 64.0)]),
        ("threshold", [(64, 512, 2048), (0, 127, 255)]),
        ("scribble_xdog", [(64, 512, 2048), (1, 32, 64)]),
        ("tile_resample", [(1.0, 1.0, 8.0)]),
        ("tile_colorfix+sharp", [(3.0, 8.0, 32.0), (0.0, 1.0, 2.0)]),
        ("recolor_luminance", [(0.1, 1.0, 2.0)]),
        ("invert", []),
    ],
)
def test_parameters_have_the_bounds_and_defaults_that_clients_know(
    name: str, bounds: list[tuple[float, float, float]]
) -> None:
    parameters = _MODULES[name].description.parameters
    assert [(each.minimum, each.default, each.maximum) for each in parameters] == bounds


@pytest.mark.parametrize("name", _MODULES)
def test_the_same_picture_gives_the_same_map_in_a_picture_of_its_proportions(name: str) -> None:
    image = data.coffee()
    first = made(name, image)
    assert (first == made(name, image)).all()
    assert first.dtype == np.uint8
    assert first.shape[0] / first.shape[1] == pytest.approx(400 / 600, abs=0.002)


def test_canny_finds_the_edges_of_squares_and_nothing_else() -> None:
    edges = made("canny", squares())[:, :, 0] > 0
    near = np.zeros(512, bool)
    for line in range(64, 512, 64):
        near[line - 2 : line + 2] = True
    assert edges.sum() > 7 * 512
    assert not edges[~(near[:, None] | near[None, :])].any()


def test_higher_thresholds_of_canny_leave_fewer_edges() -> None:
    image = data.astronaut()
    counts = [
        int((made("canny", image, low_threshold=low, high_threshold=high) > 0).sum())
        for low, high in [(20, 60), (100, 200), (200, 255)]
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[2]


def test_inverting_twice_gives_the_picture() -> None:
    image = data.astronaut()
    assert (made("invert", made("invert", image)) == image).all()


def test_a_threshold_keeps_what_is_brighter_in_every_colour() -> None:
    image = np.full((512, 512, 3), 200, np.uint8)
    image[:256, :, 2] = 50
    assert (made("threshold", image, threshold=127)[[0, 511], 0, 0] == [0, 255]).all()
    assert (made("threshold", image, threshold=200) == 0).all()


def test_a_wider_blur_leaves_less_detail() -> None:
    image = data.astronaut()
    detail = [float(made("blur_gaussian", image, sigma=sigma).std()) for sigma in (0.01, 9.0, 64.0)]
    assert detail == sorted(detail, reverse=True)
    assert np.abs(made("blur_gaussian", image, sigma=0.01).astype(int) - image).max() <= 1


@pytest.mark.parametrize("name", ["scribble_xdog", "lineart_standard"])
def test_a_dark_line_on_paper_is_white_on_black(name: str) -> None:
    image = np.full((512, 512, 3), 250, np.uint8)
    image[:, 255:258] = 20
    lines = made(name, image)[:, :, 0]
    assert (lines[:, 256] > 100).all()
    assert (lines[:, :230] == 0).all()
    assert (lines[:, 283:] == 0).all()


def test_paper_without_a_line_has_none() -> None:
    image = np.full((512, 512, 3), 250, np.uint8)
    for name in ("scribble_xdog", "lineart_standard", "canny"):
        assert (made(name, image) == 0).all(), name


def test_shuffling_keeps_colours_and_loses_places() -> None:
    image = data.astronaut()
    shuffled = made("shuffle", image)
    colours = {tuple(each) for each in (image // 64).reshape(-1, 3)}
    found = {tuple(each) for each in (shuffled // 64).reshape(-1, 3)}
    assert len(found - colours) <= 2
    grey, moved = image.mean(axis=2).ravel(), shuffled.mean(axis=2).ravel()
    assert abs(np.corrcoef(grey, moved)[0, 1]) < 0.5


def test_a_picture_whose_colours_are_kept_is_its_own_map_whatever_the_numbers() -> None:
    image = data.coffee()
    assert (made("tile_colorfix", image, variation=32.0) == image).all()
    assert (made("tile_colorfix+sharp", image, variation=3.0, sharpness=2.0) == image).all()


def test_tiles_shrink_by_the_rate_and_keep_the_mean() -> None:
    image = data.coffee()
    small = made("tile_resample", image, down_sampling_rate=8.0)
    assert small.shape == (50, 75, 3)
    assert small.mean() == pytest.approx(image.mean(), abs=0.5)
    assert (made("tile_resample", image) == image).all()


@pytest.mark.parametrize("name", ["recolor_luminance", "recolor_intensity"])
def test_recolouring_begins_with_grey_and_gamma_darkens_it(name: str) -> None:
    image = data.astronaut()
    bright, usual, dark = (made(name, image, gamma=gamma) for gamma in (0.5, 1.0, 2.0))
    assert (usual[:, :, 0] == usual[:, :, 2]).all()
    assert bright.mean() > usual.mean() > dark.mean()


def test_intensity_is_the_largest_colour_and_luminance_is_what_the_eye_sees() -> None:
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[:, :, 2] = 255
    assert (made("recolor_intensity", blue) == 255).all()
    # CIE L* of pure blue is 32.3 of 100.
    assert made("recolor_luminance", blue).mean() == pytest.approx(0.323 * 255, abs=1)


@pytest.mark.parametrize(
    ("size", "resolution", "wanted"),
    [
        ((400, 600), 512, (512, 768)),
        ((600, 400), 64, (96, 64)),
        ((3, 3), 2048, (2048, 2048)),
        ((7, 64), 64, (64, 585)),
    ],
)
def test_the_shorter_side_is_the_resolution_and_the_other_follows(
    size: tuple[int, int], resolution: int, wanted: tuple[int, int]
) -> None:
    assert size_at(size, resolution) == wanted
    assert at_resolution(np.zeros(size, np.uint8), resolution).shape == wanted


@pytest.mark.parametrize(
    ("size", "resolution"), [((1, 1000), 64), ((1000, 9000), 2048), ((1, 16_777_216), 64)]
)
def test_a_map_that_would_be_too_large_is_refused_before_it_is_made(
    size: tuple[int, int], resolution: int
) -> None:
    with pytest.raises(InvalidParameter, match="allowed: proportions whose map"):
        size_at(size, resolution)
