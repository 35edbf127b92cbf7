"""What all measurements share: the files, the judge, the prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from demo.draw import captions, scenes
from demo.draw.scenes import Scene
from demo.judge import reading
from demo.judge.reading import Judge

STRENGTHS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the files are, who judges, and how many prompts a number is taken from."""

    models: Path
    judge: Judge
    prompts: int  # of the base checkpoint
    companions: int  # of everything else

    def sheet(self, name: str, image: Image.Image) -> None:
        image.save(self.models / name / "sheet.png", optimize=True)

    def shares(self, pixels: torch.Tensor, prompts: Sequence[str]) -> dict[str, float]:
        return reading.shares(self.judge.agreement(pixels, prompts))


def held_out_prompts(count: int, seed: int = 7) -> list[str]:
    """Captions of single figures in combinations that no training saw; different ones while there are any."""
    rng = random.Random(seed)
    chosen: list[Scene] = []
    while len(chosen) < count:
        chosen += rng.sample(scenes.HELD_OUT_SINGLES, min(count - len(chosen), len(scenes.HELD_OUT_SINGLES)))
    return [captions.plain(scene) for scene in chosen]


def light_prompts(count: int) -> list[str]:
    """Held-out prompts that ask neither for a black background nor for a yellow figure."""
    asked = held_out_prompts(4 * count + 16, seed=11)
    return [prompt for prompt in asked if "black" not in prompt and "yellow" not in prompt][:count]
