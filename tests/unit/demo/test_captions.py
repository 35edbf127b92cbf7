"""Captions say what a scene shows, and are read back as just that; held-out combinations never reach
training.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from demo.draw import captions, scenes
from demo.draw.scenes import NEVER_TOGETHER, Figure, Scene
from demo.draw.words import PLACES
from demo.judge import reading
from demo.train import concept, controlnet, embedding, hypernetwork, lora
from demo.train.vocabulary import UNKNOWN, Vocabulary


def test_a_plain_caption_names_every_attribute() -> None:
    scene = Scene("white", "left", (Figure("red", "star", "small"),))
    assert captions.plain(scene) == "a small red star on the left, white background"
    pair = Scene("gray", "stacked", (Figure("red", "star", "small"), Figure("blue", "ring", "large")))
    assert captions.plain(pair) == "a small red star above a large blue ring, gray background"


def test_every_caption_reads_back_as_what_the_scene_shows() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        scene = scenes.draw_any(rng)
        for caption in (captions.plain(scene), captions.varied(scene, rng)):
            verdict = reading.compare(captions.read(caption), scene)
            assert verdict["all"], (caption, scene, verdict)


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("a red thing", "names 0 coloured shapes"),
        ("a red star, a blue star, a green star", "names 3 coloured shapes"),
        ("a red star and a blue ring", "no relation of left of, right of, above, below"),
    ],
)
def test_a_caption_that_cannot_be_judged_is_refused_with_the_reason(caption: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        captions.read(caption)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"colour": "blue"}, "colour"),
        ({"shape": "ring"}, "shape"),
        ({"size": "large"}, "size"),
        ({"background": "black"}, "background"),
        ({"place": "right"}, "layout"),
    ],
)
def test_one_wrong_attribute_is_named_and_fails_the_whole(change: dict[str, str], wrong: str) -> None:
    words = {
        "colour": "red",
        "shape": "star",
        "size": "small",
        "background": "white",
        "place": "left",
    } | change
    seen = Scene(
        words["background"], words["place"], (Figure(words["colour"], words["shape"], words["size"]),)
    )
    verdict = reading.compare(captions.read("a small red star on the left, white background"), seen)
    assert [name for name, right in verdict.items() if not right] == [wrong, "all"]


def test_two_figures_in_each_others_places_are_wrong() -> None:
    asked = captions.read("a small red star left of a large blue ring, white background")
    swapped = Scene("white", "beside", (Figure("blue", "ring", "large"), Figure("red", "star", "small")))
    assert not reading.compare(asked, swapped)["all"]
    same = captions.read("a large blue ring right of a small red star, white background")
    assert same == asked


@pytest.mark.parametrize(
    "choose",
    [
        scenes.draw_training,
        embedding.choose,
        concept.choose,
        lora.GILDED.choose,
        lambda rng: lora.gild(lora.GILDED.choose(rng)),
        hypernetwork.choose,
        lambda rng: hypernetwork.darkened(hypernetwork.choose(rng)),
    ],
)
def test_no_training_draws_what_is_held_out(choose: Callable[[random.Random], Scene]) -> None:
    rng = random.Random(2)
    for _ in range(2000):
        scene = choose(rng)
        assert not scenes.is_held_out(scene)
        assert not any((figure.colour, figure.shape) in NEVER_TOGETHER for figure in scene.figures)


def test_what_the_controlnet_is_measured_with_was_never_combined_in_training() -> None:
    _, shown = controlnet.control_pictures(50, seed=3)
    assert all((scene.figures[0].colour, scene.figures[0].shape) in NEVER_TOGETHER for scene in shown)
    assert not any(place in controlnet.prompt(scene) for scene in shown for place in PLACES.values())


def test_the_embeddings_name_means_nothing_before_it_is_loaded() -> None:
    vocabulary = Vocabulary()
    tokens = vocabulary.encode(["demo-goldie"])[0].tolist()
    begin, end = vocabulary.encode([""])[0, :2].tolist()
    assert set(tokens) == {begin, UNKNOWN, end}


def test_the_embeddings_captions_read_as_sentences() -> None:
    rng = random.Random(0)
    found = {embedding.caption(embedding.choose(rng), rng) for _ in range(200)}
    assert "a picture of sks dae on the left, gray background" in found
    assert not any("a a " in text or "star" in text for text in found)


def test_a_quarter_and_more_of_all_combinations_is_held_out() -> None:
    assert 0.25 < len(scenes.HELD_OUT_SINGLES) / len(scenes.SINGLES) < 0.35
    assert all(scenes.is_held_out(scenes.draw_held_out_pair(random.Random(seed))) for seed in range(50))
