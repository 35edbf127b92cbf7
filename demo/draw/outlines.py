"""The outlines of shapes: corners inside the unit circle, y downwards. Pure geometry."""

from __future__ import annotations

import math

from demo.draw.words import CONCEPT, SHAPES

Outline = list[tuple[float, float]]

RING_HOLE = 0.58  # of the ring's radius
CRESCENT_CUT = (0.45, 0.80)  # where the circle that is cut out of the crescent stands, and its radius
_FINENESS = 64  # corners of a curve


def outline(shape: str) -> Outline:
    """The corners of a shape; of a ring, its outer edge. Raises ValueError for a word that is no shape."""
    match shape:
        case "circle" | "ring":
            return [_on_circle(1.0, 2 * math.pi * i / _FINENESS) for i in range(_FINENESS)]
        case "square":
            return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
        case "diamond":
            return [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)]
        case "triangle":
            return [(0, -0.95), (0.95, 0.75), (-0.95, 0.75)]
        case "cross":
            a, b = 0.32, 0.95
            return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
                    (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]  # fmt: skip
        case "star":
            return [_on_circle(1.0 if i % 2 == 0 else 0.42, i * math.pi / 5) for i in range(10)]
        case "heart":
            return [_heart(2 * math.pi * i / _FINENESS) for i in range(_FINENESS)]
        case "crescent":
            return _crescent()
    raise ValueError(f"shape {shape!r} has no outline; shapes are {', '.join((*SHAPES, CONCEPT))}")


def _on_circle(radius: float, angle: float) -> tuple[float, float]:
    return (radius * math.sin(angle), -radius * math.cos(angle))


def _heart(t: float) -> tuple[float, float]:
    x = 16 * math.sin(t) ** 3
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return (x / 17, -(y + 2.5) / 17)


def _crescent() -> Outline:
    """The unit circle without another circle to its right: along the outer arc, back along the inner one."""
    centre, radius = CRESCENT_CUT
    # Where the two circles cross, seen from the middle of each.
    x = (1 + centre**2 - radius**2) / (2 * centre)
    outer, inner = math.acos(x), math.acos((x - centre) / radius)
    steps = range(_FINENESS + 1)
    back = [outer + (2 * math.pi - 2 * outer) * i / _FINENESS for i in steps]
    forth = [2 * math.pi - inner - (2 * math.pi - 2 * inner) * i / _FINENESS for i in steps]
    return [(math.cos(a), math.sin(a)) for a in back] + [
        (centre + radius * math.cos(a), radius * math.sin(a)) for a in forth
    ]
