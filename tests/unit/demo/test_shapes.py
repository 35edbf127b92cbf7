"""The demo model's pictures are exactly what their captions say."""

from __future__ import annotations

import random

import pytest

from model import shapes


def centred(subject: shapes.Subject) -> shapes.Placement:
    return shapes.Placement((0.5, 0.5), shapes.SIZES[subject.size], shapes.COLOURS[subject.colour])


def test_every_combination_of_words_is_one_subject() -> None:
    assert len(set(shapes.SUBJECTS)) == 8 * 8 * 3 * 2


def test_captions_name_every_attribute() -> None:
    subject = shapes.Subject("red", "star", "white", "small")
    captions = {subject.caption(template) for template in shapes.TEMPLATES}
    assert len(captions) == 4
    for caption in captions:
        assert all(word in caption for word in ("red", "star", "white", "small"))


def test_same_generator_state_draws_the_same_picture() -> None:
    subject = shapes.SUBJECTS[17]
    first = shapes.render(subject, random.Random(3))
    assert first.tobytes() == shapes.render(subject, random.Random(3)).tobytes()
    assert first.tobytes() != shapes.render(subject, random.Random(4)).tobytes()


@pytest.mark.parametrize("background", shapes.BACKGROUNDS)
@pytest.mark.parametrize("colour", shapes.COLOURS)
def test_tones_are_exact(colour: str, background: str) -> None:
    subject = shapes.Subject(colour, "square", background, "large")
    picture = shapes.draw(subject, centred(subject))
    assert picture.size == (64, 64)
    assert picture.getpixel((32, 32)) == shapes.COLOURS[colour]
    assert picture.getpixel((0, 0)) == shapes.BACKGROUNDS[background]


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_shapes_stay_inside_the_picture(shape: str) -> None:
    rng = random.Random(0)
    subject = shapes.Subject("red", shape, "black", "large")
    for _ in range(20):
        picture = shapes.render(subject, rng)
        border = [picture.getpixel((i, j)) for i in range(64) for j in (0, 63)]
        border += [picture.getpixel((j, i)) for i in range(64) for j in (0, 63)]
        # An edge that comes close may tint the outermost pixels, being smoothed, but not cover them.
        assert all(max(abs(channel - 15) for channel in pixel) < 60 for pixel in border)


def test_all_shapes_differ() -> None:
    pictures = set()
    for shape in shapes.SHAPES:
        subject = shapes.Subject("red", shape, "white", "large")
        pictures.add(shapes.draw(subject, centred(subject)).tobytes())
    assert len(pictures) == len(shapes.SHAPES)


def test_a_ring_has_a_hole_and_a_circle_has_none() -> None:
    for shape, expected in (("ring", shapes.BACKGROUNDS["white"]), ("circle", shapes.COLOURS["blue"])):
        subject = shapes.Subject("blue", shape, "white", "large")
        assert shapes.draw(subject, centred(subject)).getpixel((32, 32)) == expected


def test_an_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'blob'.*circle"):
        shapes.outline("blob")
