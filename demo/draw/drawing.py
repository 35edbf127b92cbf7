"""Draws scenes. A given random generator always yields the same picture.

Everything is drawn here, so captions are exact by construction and nobody else's pictures are involved.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from demo.draw.outlines import RING_HOLE, outline
from demo.draw.scenes import Figure, Scene
from demo.draw.words import BACKGROUNDS, COLOURS, RADIUS, RADIUS_OF_TWO, RGB

SIDE = 64
MARGIN = 0.02  # what stays free between a figure and the edge, as a share of the shorter side


@dataclass(frozen=True, slots=True)
class Style:
    """How scenes are drawn; the default is how the base checkpoint's pictures are."""

    oversampling: int = 4  # drawn larger and reduced, for smooth edges
    tone_jitter: int = 8  # of each channel, of 255
    background_jitter: int = 0
    radius_jitter: float = 0.07
    centre_jitter: float = 0.035
    turn_degrees: float = 0.0  # figures are turned by at most this
    night: bool = False  # the background is midnight blue, whatever it is called


PLAIN = Style()
MIDNIGHT: RGB = (25, 25, 85)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how exactly one figure is drawn, in pixels."""

    centre: tuple[float, float]
    radius: float
    colour: RGB
    angle: float


def render(
    scene: Scene, rng: random.Random, *, size: tuple[int, int] = (SIDE, SIDE), style: Style = PLAIN
) -> Image.Image:
    """Draws a scene, `size` (width, height) large, with the style's chances taken from `rng`."""
    background = (
        MIDNIGHT if style.night else _jitter(BACKGROUNDS[scene.background], style.background_jitter, rng)
    )
    scale = style.oversampling
    canvas = Image.new("RGB", (size[0] * scale, size[1] * scale), background)
    pen = ImageDraw.Draw(canvas)
    for index, figure in enumerate(scene.figures):
        placement = _place(scene, index, size, style, rng)
        _fill(pen, figure, placement, scale, colour=placement.colour, background=background)
    return canvas.resize(size, Image.Resampling.LANCZOS)


def _place(scene: Scene, index: int, size: tuple[int, int], style: Style, rng: random.Random) -> Placement:
    figure, short = scene.figures[index], min(size)
    radii = RADIUS_OF_TWO if scene.is_pair else RADIUS
    radius = radii[figure.size] * rng.uniform(1 - style.radius_jitter, 1 + style.radius_jitter) * short
    reach = radius + MARGIN * short
    x, y = _target(scene.layout, index, radii[figure.size] + 2 * MARGIN)
    # The whole figure stays inside the picture, wherever it was meant to stand.
    centre = tuple(
        min(
            max((share + rng.uniform(-style.centre_jitter, style.centre_jitter)) * length, reach),
            length - reach,
        )
        for share, length in zip((x, y), size, strict=True)
    )
    tone = _jitter(COLOURS[figure.colour], style.tone_jitter, rng)
    angle = math.radians(rng.uniform(-style.turn_degrees, style.turn_degrees))
    return Placement((centre[0], centre[1]), radius, tone, angle)


def _target(layout: str, index: int, edge: float) -> tuple[float, float]:
    """Where a figure should stand: in shares of width and height, `edge` away from the side it belongs to."""
    match layout, index:
        case ("left", _):
            return (edge, 0.5)
        case ("right", _):
            return (1 - edge, 0.5)
        case ("top", _):
            return (0.5, edge)
        case ("bottom", _):
            return (0.5, 1 - edge)
        case ("beside", _):
            return (0.26 + 0.48 * index, 0.5)
        case ("stacked", _):
            return (0.5, 0.26 + 0.48 * index)
    return (0.5, 0.5)


def _fill(
    pen: ImageDraw.ImageDraw,
    figure: Figure,
    placement: Placement,
    scale: int,
    *,
    colour: RGB,
    background: RGB,
) -> None:
    cosine, sine = math.cos(placement.angle), math.sin(placement.angle)
    x, y, radius = placement.centre[0] * scale, placement.centre[1] * scale, placement.radius * scale

    def corners(radius: float) -> list[tuple[float, float]]:
        return [
            (x + radius * (dx * cosine - dy * sine), y + radius * (dx * sine + dy * cosine))
            for dx, dy in outline(figure.shape)
        ]

    pen.polygon(corners(radius), fill=colour)
    if figure.shape == "ring":
        pen.polygon(corners(radius * RING_HOLE), fill=background)


def _jitter(colour: RGB, amount: int, rng: random.Random) -> RGB:
    if not amount:
        return colour
    red, green, blue = (min(255, max(0, channel + rng.randint(-amount, amount))) for channel in colour)
    return (red, green, blue)
