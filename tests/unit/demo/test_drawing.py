"""The demo's pictures are exactly what their scenes say."""

from __future__ import annotations

import random

import pytest

from demo.draw import drawing, outlines, scenes
from demo.draw.drawing import Style
from demo.draw.scenes import Figure, Scene
from demo.draw.words import BACKGROUNDS, COLOURS, CONCEPT, LAYOUTS, PLACES, SHAPES

STILL = Style(tone_jitter=0, radius_jitter=0.0, centre_jitter=0.0)


def single(
    colour: str = "red", shape: str = "square", background: str = "white", place: str = "center"
) -> Scene:
    return Scene(background, place, (Figure(colour, shape, "large"),))


def test_the_same_generator_state_draws_the_same_picture() -> None:
    scene = scenes.SINGLES[17]
    first = drawing.render(scene, random.Random(3))
    assert first.tobytes() == drawing.render(scene, random.Random(3)).tobytes()
    assert first.tobytes() != drawing.render(scene, random.Random(4)).tobytes()


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_tones_are_exact(colour: str, background: str) -> None:
    picture = drawing.render(single(colour, background=background), random.Random(0), style=STILL)
    assert picture.size == (64, 64)
    assert picture.getpixel((32, 32)) == COLOURS[colour]
    assert picture.getpixel((0, 0)) == BACKGROUNDS[background]


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 96), (128, 128)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_figures_stay_inside_the_picture(layout: str, size: tuple[int, int]) -> None:
    rng = random.Random(0)
    for shape in SHAPES:
        figures = (Figure("red", shape, "large"), Figure("blue", "circle", "large"))
        scene = Scene("black", layout, figures if layout not in PLACES else figures[:1])
        picture = drawing.render(scene, rng, size=size)
        assert picture.size == size
        width, height = size
        border = [picture.getpixel((x, y)) for x in range(width) for y in (0, height - 1)]
        border += [picture.getpixel((x, y)) for y in range(height) for x in (0, width - 1)]
        assert all(max(abs(channel - 15) for channel in pixel) < 30 for pixel in border)


@pytest.mark.parametrize(
    ("place", "point"),
    [("left", (20, 32)), ("right", (44, 32)), ("top", (32, 20)), ("bottom", (32, 44)), ("center", (32, 32))],
)
def test_a_single_figure_stands_in_its_place(place: str, point: tuple[int, int]) -> None:
    picture = drawing.render(single(place=place), random.Random(0), style=STILL)
    red = [(x, y) for x in range(64) for y in range(64) if picture.getpixel((x, y)) == COLOURS["red"]]
    middle = tuple(sum(axis) / len(red) for axis in zip(*red, strict=True))
    assert all(abs(a - b) < 6 for a, b in zip(middle, point, strict=True))


@pytest.mark.parametrize(("layout", "axis"), [("beside", 0), ("stacked", 1)])
def test_the_first_of_two_figures_is_the_left_or_the_upper_one(layout: str, axis: int) -> None:
    scene = Scene("white", layout, (Figure("red", "circle", "small"), Figure("blue", "square", "small")))
    picture = drawing.render(scene, random.Random(0), style=STILL)

    def mean(colour: str) -> float:
        found = [
            (x, y)[axis] for x in range(64) for y in range(64) if picture.getpixel((x, y)) == COLOURS[colour]
        ]
        return sum(found) / len(found)

    assert mean("red") + 15 < mean("blue")


def test_all_shapes_differ() -> None:
    pictures = {
        drawing.render(single(shape=shape), random.Random(0), style=STILL).tobytes()
        for shape in (*SHAPES, CONCEPT)
    }
    assert len(pictures) == len(SHAPES) + 1


def test_a_ring_has_a_hole_and_a_circle_has_none() -> None:
    for shape, expected in (("ring", BACKGROUNDS["white"]), ("circle", COLOURS["red"])):
        picture = drawing.render(single(shape=shape), random.Random(0), style=STILL)
        assert picture.getpixel((32, 32)) == expected


def test_a_crescent_is_open_on_its_right() -> None:
    picture = drawing.render(single(shape=CONCEPT), random.Random(0), style=STILL)
    assert picture.getpixel((16, 32)) == COLOURS["red"]
    assert picture.getpixel((38, 32)) == BACKGROUNDS["white"]


def test_styles_change_what_they_say() -> None:
    turned = drawing.render(single(), random.Random(0), style=Style(turn_degrees=45))
    assert turned.tobytes() != drawing.render(single(), random.Random(0)).tobytes()
    night = drawing.render(single(), random.Random(0), style=Style(night=True))
    assert night.getpixel((0, 0)) == drawing.MIDNIGHT


def test_an_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'blob'.*circle"):
        outlines.outline("blob")
