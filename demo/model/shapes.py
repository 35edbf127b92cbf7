"""The demo model's pictures and captions: one coloured shape on a plain background.

Everything is drawn, so captions are exact by construction and nobody else's pictures are involved.
A given random generator always yields the same pictures. This module knows nothing of training.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import product

from PIL import Image, ImageDraw

SIDE = 64
OVERSAMPLING = 4  # drawn larger and reduced, for smooth edges

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 70, 220),
    "yellow": (245, 215, 40),
    "purple": (140, 50, 180),
    "orange": (245, 135, 30),
    "pink": (250, 140, 180),
    "cyan": (40, 200, 215),
}
BACKGROUNDS: dict[str, RGB] = {"white": (250,) * 3, "black": (15,) * 3, "gray": (128,) * 3}
SIZES: dict[str, float] = {"small": 0.22, "large": 0.38}  # radius as a share of the side
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")

TEMPLATES = (
    "a {size} {colour} {shape} on a {background} background",
    "a {colour} {shape} on a {background} background, {size}",
    "{size} {colour} {shape}, {background} background",
    "a picture of a {size} {colour} {shape} on {background}",
)

COLOUR_JITTER = 8
RADIUS_JITTER = 0.08
CENTRE_JITTER = 0.12


@dataclass(frozen=True, slots=True)
class Subject:
    """What a picture shows; every field is a word of the vocabulary above."""

    colour: str
    shape: str
    background: str
    size: str

    def caption(self, template: str) -> str:
        return template.format(
            colour=self.colour, shape=self.shape, background=self.background, size=self.size
        )


SUBJECTS: tuple[Subject, ...] = tuple(
    Subject(colour, shape, background, size)
    for colour, shape, background, size in product(COLOURS, SHAPES, BACKGROUNDS, SIZES)
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in which exact tone a subject is drawn; lengths are shares of the side."""

    centre: tuple[float, float]
    radius: float
    colour: RGB


def place(subject: Subject, rng: random.Random) -> Placement:
    """Chooses position, size and tone at random, so that the whole shape stays inside the picture."""
    radius = SIZES[subject.size] * rng.uniform(1 - RADIUS_JITTER, 1 + RADIUS_JITTER)
    reach = max(0.0, min(CENTRE_JITTER, 0.49 - radius))
    centre = (0.5 + rng.uniform(-reach, reach), 0.5 + rng.uniform(-reach, reach))
    red, green, blue = (
        min(255, max(0, channel + rng.randint(-COLOUR_JITTER, COLOUR_JITTER)))
        for channel in COLOURS[subject.colour]
    )
    return Placement(centre, radius, (red, green, blue))


def draw(subject: Subject, placement: Placement, side: int = SIDE) -> Image.Image:
    """Draws a subject at a placement."""
    canvas_side = side * OVERSAMPLING
    background = BACKGROUNDS[subject.background]
    canvas = Image.new("RGB", (canvas_side, canvas_side), background)
    pen = ImageDraw.Draw(canvas)
    x, y = (coordinate * canvas_side for coordinate in placement.centre)
    radius = placement.radius * canvas_side
    if subject.shape == "circle":
        pen.ellipse(_box(x, y, radius), fill=placement.colour)
    elif subject.shape == "ring":
        pen.ellipse(_box(x, y, radius), fill=placement.colour)
        pen.ellipse(_box(x, y, radius * 0.58), fill=background)
    else:
        corners = [(x + radius * dx, y + radius * dy) for dx, dy in outline(subject.shape)]
        pen.polygon(corners, fill=placement.colour)
    return canvas.resize((side, side), Image.Resampling.LANCZOS)


def render(subject: Subject, rng: random.Random) -> Image.Image:
    """Draws a subject at a random placement."""
    return draw(subject, place(subject, rng))


def outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a straight-edged shape (and the heart's curve) inside the unit circle, y downwards."""
    if shape == "square":
        return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    if shape == "diamond":
        return [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)]
    if shape == "triangle":
        return [(0, -0.95), (0.95, 0.75), (-0.95, 0.75)]
    if shape == "cross":
        a, b = 0.32, 0.95
        return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
                (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]  # fmt: skip
    if shape == "star":
        return [_on_circle(1.0 if i % 2 == 0 else 0.42, i * math.pi / 5) for i in range(10)]
    if shape == "heart":
        return [_heart(2 * math.pi * i / 64) for i in range(64)]
    raise ValueError(f"shape {shape!r} has no outline; shapes are {', '.join(SHAPES)}")


def _box(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return (x - radius, y - radius, x + radius, y + radius)


def _on_circle(radius: float, angle: float) -> tuple[float, float]:
    return (radius * math.sin(angle), -radius * math.cos(angle))


def _heart(t: float) -> tuple[float, float]:
    x = 16 * math.sin(t) ** 3
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return (x / 17, -(y + 2.5) / 17)
