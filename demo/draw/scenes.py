"""What a picture shows, as data: one figure somewhere, or two figures in a relation, on a plain background.

Also which combinations of words no model is ever trained on. Knows nothing of pixels or captions.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from itertools import product

from demo.draw.words import ARRANGEMENTS, BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES

TWO_FIGURES = 0.3  # share of the training pictures that show two
HELD_OUT_SHARE = 0.25
# Colours and shapes that never meet in training, whatever the rest of the picture shows.
NEVER_TOGETHER = frozenset({("pink", "star"), ("cyan", "heart"), ("purple", "cross"), ("orange", "ring")})


@dataclass(frozen=True, slots=True)
class Figure:
    """One coloured shape."""

    colour: str
    shape: str
    size: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole picture. Of two figures the first is the left one (`beside`) or the upper one (`stacked`)."""

    background: str
    layout: str
    figures: tuple[Figure, ...]

    @property
    def is_pair(self) -> bool:
        return self.layout in ARRANGEMENTS


FIGURES: tuple[Figure, ...] = tuple(
    Figure(colour, shape, size) for colour, shape, size in product(COLOURS, SHAPES, SIZES)
)
SINGLES: tuple[Scene, ...] = tuple(
    Scene(background, place, (figure,)) for background, place, figure in product(BACKGROUNDS, PLACES, FIGURES)
)


def is_held_out(scene: Scene) -> bool:
    """Whether training pictures must not show this combination.

    Held out are pairs of words (`NEVER_TOGETHER`), and beside them a quarter of all combinations, chosen by a
    digest so that the choice is the same everywhere. Of two figures, the relation is part of the combination.
    """
    if any((figure.colour, figure.shape) in NEVER_TOGETHER for figure in scene.figures):
        return True
    digest = hashlib.sha256(repr(scene).encode()).digest()
    return digest[0] < 256 * HELD_OUT_SHARE


HELD_OUT_SINGLES: tuple[Scene, ...] = tuple(scene for scene in SINGLES if is_held_out(scene))
_TRAINING_SINGLES: tuple[Scene, ...] = tuple(scene for scene in SINGLES if not is_held_out(scene))


def draw_pair(rng: random.Random) -> Scene:
    """Two figures that differ in colour and in shape, held out or not."""
    first = rng.choice(FIGURES)
    second = rng.choice([f for f in FIGURES if f.colour != first.colour and f.shape != first.shape])
    return Scene(rng.choice(tuple(BACKGROUNDS)), rng.choice(tuple(ARRANGEMENTS)), (first, second))


def draw_training(rng: random.Random) -> Scene:
    """A scene of the training set."""
    if rng.random() >= TWO_FIGURES:
        return rng.choice(_TRAINING_SINGLES)
    while is_held_out(scene := draw_pair(rng)):
        pass
    return scene


def draw_any(rng: random.Random) -> Scene:
    """A scene of any kind, as a judge has to read them."""
    return draw_pair(rng) if rng.random() < TWO_FIGURES else rng.choice(SINGLES)


def draw_held_out_pair(rng: random.Random) -> Scene:
    """Two figures in a combination that training never shows."""
    while not is_held_out(scene := draw_pair(rng)):
        pass
    return scene
