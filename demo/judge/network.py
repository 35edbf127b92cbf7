"""The judge's classifier: one small convolutional network, one output for each word of each attribute.

Knows pictures of 64x64; whoever calls it brings others to that size.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from demo.draw.words import BACKGROUNDS, COLOURS, CONCEPT, LAYOUTS, SHAPES, SIZES

SIDE = 64
# Of one figure the second slot's answers mean nothing.
SLOTS = ("first", "second")
WORDS: dict[str, tuple[str, ...]] = {
    "background": tuple(BACKGROUNDS),
    "layout": LAYOUTS,
    **{
        f"{slot}-{attribute}": words
        for slot in SLOTS
        for attribute, words in (
            ("colour", tuple(COLOURS)),
            ("shape", (*SHAPES, CONCEPT)),
            ("size", SIZES),
        )
    },
}
_WIDTHS = (24, 48, 64, 96, 96)
_HIDDEN = 192
_GROUPS = 8


class Classifier(nn.Module):
    """Convolutions that halve four times, then one hidden layer that sees the whole picture."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, _WIDTHS[0], 3, padding=1), nn.ReLU()]
        for before, after in pairwise(_WIDTHS):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(_GROUPS, after),
                nn.ReLU(),
            ]
        side = SIDE // 2 ** (len(_WIDTHS) - 1)
        layers += [nn.Flatten(), nn.Linear(_WIDTHS[-1] * side * side, _HIDDEN), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.Linear(_HIDDEN, len(words)) for name, words in WORDS.items()})

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores of each attribute's words for pictures (count, 3, 64, 64) in -1 to 1."""
        features = self.body(pictures)
        return {name: head(features) for name, head in self.heads.items()}
