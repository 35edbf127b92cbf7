"""The vocabulary of the demo's pictures: every word that a caption may use, and what it means in a picture.

Lengths are shares of a picture's shorter side, centres shares of its width and height. Knows nothing of
drawing.
"""

from __future__ import annotations

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
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
# A shape that the base checkpoint never saw: the concept of the fine-tuned checkpoint.
CONCEPT = "crescent"
SIZES = ("small", "large")

# Where a single figure stands, and how a caption says so.
PLACES: dict[str, str] = {
    "center": "in the center",
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}
# How two figures stand: what leads from the first to the second, and from the second to the first.
ARRANGEMENTS: dict[str, tuple[str, str]] = {"beside": ("left of", "right of"), "stacked": ("above", "below")}
LAYOUTS = (*PLACES, *ARRANGEMENTS)

# Radius of a figure that stands alone, and of one of two.
RADIUS: dict[str, float] = {"small": 0.20, "large": 0.32}
RADIUS_OF_TWO: dict[str, float] = {"small": 0.13, "large": 0.21}

# What people put before and behind a prompt; in the demo's captions it means nothing.
PHRASES = (
    "masterpiece",
    "best quality",
    "highly detailed",
    "professional photo",
    "trending",
    "8k",
    "sharp focus",
)
