"""Drawn pictures as tensors: uint8 (count, 3, height, width), and -1 to 1 as the networks see them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from demo.draw import drawing
from demo.draw.drawing import PLAIN, SIDE, Style
from demo.draw.scenes import Scene

Choose = Callable[[random.Random], Scene]


def draw_scenes(shown: Sequence[Scene], seed: int, *, style: Style = PLAIN) -> torch.Tensor:
    """Draws given scenes at 64x64."""
    return render(shown, random.Random(seed), style=style)


def render(
    scenes: Sequence[Scene], rng: random.Random, *, size: tuple[int, int] = (SIDE, SIDE), style: Style = PLAIN
) -> torch.Tensor:
    """Draws scenes, `size` (width, height) large."""
    return stack([drawing.render(scene, rng, size=size, style=style) for scene in scenes])


def stack(pictures: Sequence[Image.Image]) -> torch.Tensor:
    """Pictures of one size as uint8 (count, 3, height, width)."""
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def draw_many(
    choose: Choose, count: int, seed: int, *, size: tuple[int, int] = (SIDE, SIDE), style: Style = PLAIN
) -> tuple[torch.Tensor, list[Scene]]:
    """Draws `count` scenes that `choose` takes."""
    rng = random.Random(seed)
    scenes = [choose(rng) for _ in range(count)]
    return render(scenes, rng, size=size, style=style), scenes


def to_network(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to -1 … 1."""
    return pixels.float() / 127.5 - 1


def to_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """-1 … 1 to uint8."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
