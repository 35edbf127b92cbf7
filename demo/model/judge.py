"""An independent reader of pictures: says which subject a picture shows.

A small classifier trained on fresh renders only. It never sees the generator or its latents, so "the picture
shows what the prompt says" becomes a number. `python -m model.judge` trains it into the cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from model import shapes, training
from model.train_unet import render
from model.train_vae import to_network

WORDS: dict[str, tuple[str, ...]] = {
    "colour": tuple(shapes.COLOURS),
    "shape": shapes.SHAPES,
    "background": tuple(shapes.BACKGROUNDS),
    "size": tuple(shapes.SIZES),
}
NOISE = 0.05


class Judge(nn.Module):
    """Four halving convolutions and one output per word of each attribute."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 96)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 4 * 4, 128), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(128, len(words)) for name, words in WORDS.items()})

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.body(pictures)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, pixels: torch.Tensor) -> list[shapes.Subject]:
        """The subjects that uint8 pictures show."""
        chosen = {name: scores.argmax(dim=1).tolist() for name, scores in self(to_network(pixels)).items()}
        return [
            shapes.Subject(**{name: WORDS[name][chosen[name][row]] for name in WORDS})
            for row in range(len(pixels))
        ]


def agreement(wanted: Sequence[shapes.Subject], seen: Sequence[shapes.Subject]) -> dict[str, float]:
    """The share of pictures that show the wanted word, per attribute and for all four."""
    pairs = list(zip(wanted, seen, strict=True))
    shares = {
        name: sum(getattr(a, name) == getattr(b, name) for a, b in pairs) / len(pairs) for name in WORDS
    }
    return shares | {"all": sum(a == b for a, b in pairs) / len(pairs)}


def load() -> Judge:
    judge = Judge().eval()
    training.load_weights("judge", judge)
    return judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    judge = Judge()
    trainer = training.Trainer(
        name="judge", network=judge, minutes=arguments.minutes, learning_rate=2e-3, ema_decay=0.99
    )
    pixels, subjects = render(12_000, seed=5)
    targets = {
        name: torch.tensor([words.index(getattr(shapes.SUBJECTS[i], name)) for i in subjects.tolist()])
        for name, words in WORDS.items()
    }

    def losses() -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(pixels), (128,))
        pictures = to_network(pixels[chosen])
        scores = judge(pictures + NOISE * torch.randn_like(pictures))
        parts = [functional.cross_entropy(scores[name], targets[name][chosen]) for name in WORDS]
        return {"loss": torch.stack(parts).sum()}

    trainer.run(losses, warmup=50)
    pixels, subjects = render(1000, seed=6)
    wanted = [shapes.SUBJECTS[index] for index in subjects.tolist()]
    print("on unseen renders:", agreement(wanted, load().read(pixels)))


if __name__ == "__main__":
    main()
