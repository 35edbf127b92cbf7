"""Captions of scenes, and what a caption asks for.

A caption may leave words out (then any picture of what it does name is right); a figure of which no place is
named stands in the center. Knows nothing of drawing.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from demo.draw.scenes import Figure, Scene
from demo.draw.words import ARRANGEMENTS, BACKGROUNDS, COLOURS, CONCEPT, PHRASES, PLACES, SHAPES, SIZES

NO_SIZE, NO_BACKGROUND, NO_CENTER, WITH_PHRASES = 0.1, 0.05, 0.5, 0.1  # shares of the varied captions

_RELATIONS = {
    words: (layout, is_reversed)
    for layout, both in ARRANGEMENTS.items()
    for words, is_reversed in zip(both, (False, True), strict=True)
}
_FIGURE = re.compile(
    rf"(?:\b({'|'.join(SIZES)}) )?(?:\b({'|'.join(COLOURS)}) )\b({'|'.join((*SHAPES, CONCEPT))})\b"
)
_RELATION = re.compile("|".join(_RELATIONS))
_PLACE = re.compile("|".join(PLACES.values()))
_BACKGROUND = re.compile(rf"\b({'|'.join(BACKGROUNDS)})(?: background|\s*$|,)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caption asks for; None where it does not say. The order of two figures is the scene's."""

    background: str | None
    layout: str | None
    figures: tuple[tuple[str, str, str | None], ...]  # colour, shape, size


def plain(scene: Scene) -> str:
    """The caption that names every attribute, in the form that scores are measured with."""
    subject = " ".join(part for part in (_subject(scene, is_reversed=False), _place(scene)) if part)
    return f"{subject}, {scene.background} background"


def varied(scene: Scene, rng: random.Random, *, names_place: bool = True) -> str:
    """One of many ways to caption a scene, some of which leave words out; on request, where it stands."""
    names_size = rng.random() >= NO_SIZE
    subject = _subject(scene, is_reversed=rng.random() < 0.5, names_size=names_size)
    subject = rng.choice(("", "", "", "a picture of ", "a drawing of ")) + subject
    if rng.random() < 0.15:
        subject = subject.removeprefix("a ")
    place = _place(scene)
    if not names_place or (scene.layout == "center" and rng.random() < NO_CENTER):
        place = ""
    background = rng.choice((f"on a {scene.background} background", f", {scene.background} background"))
    if rng.random() < NO_BACKGROUND:
        background = ""
    parts = [subject, *rng.choice(((place, background), (background, place), (f", {place}", background)))]
    text = " ".join(part for part in parts if part.strip(", ")).replace(" ,", ",")
    if rng.random() < WITH_PHRASES:
        phrases = ", ".join(rng.sample(PHRASES, rng.randint(1, 3)))
        text = rng.choice((f"{phrases}, {text}", f"{text}, {phrases}"))
    return text


def read(caption: str) -> Asked:
    """What a caption asks for. Raises ValueError for one that names no coloured shape, or more than two."""
    found = [(colour, shape, size or None) for size, colour, shape in _FIGURE.findall(caption)]
    if not 1 <= len(found) <= 2:
        raise ValueError(f"caption {caption!r} names {len(found)} coloured shapes; one or two are possible")
    background = match[1] if (match := _BACKGROUND.search(caption)) else None
    if len(found) == 1:
        place = match[0] if (match := _PLACE.search(caption)) else PLACES["center"]
        return Asked(background, next(k for k, v in PLACES.items() if v == place), tuple(found))
    relation = _RELATION.search(caption)
    if relation is None:
        raise ValueError(f"caption {caption!r} names two shapes but no relation of {', '.join(_RELATIONS)}")
    layout, is_reversed = _RELATIONS[relation[0]]
    return Asked(background, layout, tuple(reversed(found)) if is_reversed else tuple(found))


def _subject(scene: Scene, *, is_reversed: bool, names_size: bool = True) -> str:
    names = [_name(figure, names_size) for figure in scene.figures]
    if not scene.is_pair:
        return names[0]
    relation = ARRANGEMENTS[scene.layout][is_reversed]
    first, second = reversed(names) if is_reversed else names
    return f"{first} {relation} {second}"


def _place(scene: Scene) -> str:
    return PLACES.get(scene.layout, "")


def _name(figure: Figure, names_size: bool) -> str:
    size = f"{figure.size} " if names_size else ""
    return f"a {size}{figure.colour} {figure.shape}"
