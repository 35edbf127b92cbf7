"""What a picture shows, and whether that is what a caption asks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

from demo.draw import captions
from demo.draw.captions import Asked
from demo.draw.scenes import Figure, Scene
from demo.draw.words import ARRANGEMENTS
from demo.judge.network import SIDE, SLOTS, WORDS, Classifier

WEIGHTS = Path(__file__).parents[1] / "models/judge/judge.safetensors"


class Judge:
    """Reads pictures with a trained classifier."""

    def __init__(self, network: Classifier) -> None:
        self._network = network.eval().requires_grad_(False)

    def attributes(self, pixels: torch.Tensor) -> list[Scene]:
        """The scenes that uint8 pictures (count, 3, height, width) show."""
        scores = self.scores(pixels)
        chosen = {name: values.argmax(dim=1).tolist() for name, values in scores.items()}
        return [
            _scene({name: WORDS[name][numbers[row]] for name, numbers in chosen.items()})
            for row in range(len(pixels))
        ]

    def scores(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each attribute's scores, (count, words), before any word is chosen."""
        parts = [self._network(small.float() / 127.5 - 1) for small in torch.split(to_judge(pixels), 256)]
        return {name: torch.cat([part[name] for part in parts]) for name in WORDS}

    def agreement(self, pixels: torch.Tensor, prompts: Sequence[str]) -> list[dict[str, bool]]:
        """For each picture, which of the attributes that its caption names are right; `all` sums up."""
        seen = self.attributes(pixels)
        return [compare(captions.read(text), scene) for text, scene in zip(prompts, seen, strict=True)]


def load(weights: Path) -> Judge:
    """The judge with a file's weights."""
    network = Classifier()
    network.load_state_dict(load_file(weights))
    return Judge(network)


@cache
def shipped() -> Judge:
    """The judge with the weights in this repository."""
    return load(WEIGHTS)


def to_judge(pixels: torch.Tensor) -> torch.Tensor:
    """Brings uint8 pictures of any size to the judge's, as uint8."""
    if pixels.shape[-2:] == (SIDE, SIDE):
        return pixels
    small = functional.interpolate(pixels.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def compare(asked: Asked, seen: Scene) -> dict[str, bool]:
    """Which named attributes a picture has. Two figures are right only in their own places."""
    right = {"layout": asked.layout == seen.layout}
    if asked.background is not None:
        right["background"] = asked.background == seen.background
    pairs = list(zip(asked.figures, seen.figures, strict=False))
    complete = len(asked.figures) == len(seen.figures)
    right["colour"] = complete and all(colour == figure.colour for (colour, _, _), figure in pairs)
    right["shape"] = complete and all(shape == figure.shape for (_, shape, _), figure in pairs)
    if any(size for _, _, size in asked.figures):
        right["size"] = complete and all(size in (None, figure.size) for (_, _, size), figure in pairs)
    return right | {"all": all(right.values())}


def shares(verdicts: Sequence[dict[str, bool]]) -> dict[str, float]:
    """For each attribute, the share of the pictures it was asked of that have it."""
    names = dict.fromkeys(name for verdict in verdicts for name in verdict)
    return {
        name: sum(v[name] for v in verdicts if name in v) / sum(name in v for v in verdicts) for name in names
    }


def words_of(scene: Scene) -> dict[str, str]:
    """A scene as one word for each of the classifier's attributes."""
    words = {"background": scene.background, "layout": scene.layout}
    for slot, figure in zip(SLOTS, scene.figures, strict=False):
        words |= {f"{slot}-colour": figure.colour, f"{slot}-shape": figure.shape, f"{slot}-size": figure.size}
    return words


def _scene(words: dict[str, str]) -> Scene:
    count = 2 if words["layout"] in ARRANGEMENTS else 1
    figures = tuple(
        Figure(words[f"{slot}-colour"], words[f"{slot}-shape"], words[f"{slot}-size"])
        for slot in SLOTS[:count]
    )
    return Scene(words["background"], words["layout"], figures)
