"""Trains a textual inversion embedding: new vectors for the text encoder, everything else stays as it is.

After "An Image is Worth One Word" (Gal et al. 2022), with two vectors.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import nn

from demo.draw import captions, scenes
from demo.draw.scenes import Figure, Scene
from demo.draw.words import BACKGROUNDS, PLACES
from demo.train import base, latents, parallel, pictures, vae
from demo.train.budget import Budget
from demo.train.diffusion import NoiseLoss
from demo.train.trainer import Trainer
from demo.train.vocabulary import Vocabulary

NAME = "embedding"
BATCH = 48
# What the embedding comes to mean: words can say it too, so that the judge can tell whether it worked.
FIGURE = Figure("yellow", "star", "large")
NAMED = f"a {FIGURE.size} {FIGURE.colour} {FIGURE.shape}"
# Two words of CLIP's vocabulary that no caption has stand in for the vectors while they are trained.
PLACEHOLDERS = ("sks", "dae")


def train(folder: Path, budget: Budget) -> None:
    """Trains the two vectors on pictures of one figure, wherever and on whatever it stands."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(PLACEHOLDERS)
    model = base.load(folder, vocabulary).eval()
    vectors = Vectors(model, vocabulary)
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=NAME,
        network=vectors,
        steps=budget.embedding_steps,
        learning_rate=2e-2,
        matrix_rate=0.0,
        ema_decay=0.98,
    )
    if training.progress >= 1:
        return
    pixels, shown = pictures.draw_many(choose, budget.companion_pictures // 2, seed=300)
    clean = latents.encode(vae.load(folder), pixels)
    rng = random.Random(300)
    tokens = vocabulary.encode([caption(scene, rng) for scene in shown])
    noise_loss, rows = NoiseLoss(), parallel.share(BATCH)

    def losses() -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(clean), (rows,))
        context = model.context(tokens[chosen])
        return noise_loss(clean[chosen], lambda noisy, at: model.unet(noisy, at, context).sample)

    training.run(losses)


class Vectors(nn.Module):
    """The vectors, which take the place of their words in a model's text encoder."""

    def __init__(self, model: base.Model, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._rows = vocabulary.encode([" ".join(PLACEHOLDERS)])[0, 1 : 1 + len(PLACEHOLDERS)]
        table = model.text_encoder.get_input_embeddings()
        start = table.weight.detach()[self._rows]
        self.embedding = nn.Parameter(start + 0.01 * torch.randn_like(start))
        table.register_forward_hook(self._insert)

    def _insert(self, _: nn.Module, inputs: tuple[torch.Tensor], embedded: torch.Tensor) -> torch.Tensor:
        (tokens,) = inputs
        embedded = embedded.clone()
        for row, vector in zip(self._rows, self.embedding, strict=True):
            embedded[tokens == row] = vector
        return embedded


def load(folder: Path) -> torch.Tensor:
    """The trained vectors, (2, width)."""
    vectors: torch.Tensor = torch.load(folder / f"{NAME}.pt", weights_only=True)["ema"]["embedding"]
    return vectors


def choose(rng: random.Random) -> Scene:
    """The figure somewhere, in a combination that training may see."""
    while scenes.is_held_out(scene := choose_any(rng)):
        pass
    return scene


def choose_any(rng: random.Random) -> Scene:
    """The figure anywhere, on any background."""
    return Scene(rng.choice(tuple(BACKGROUNDS)), rng.choice(tuple(PLACES)), (FIGURE,))


def caption(scene: Scene, rng: random.Random) -> str:
    """A caption in which the placeholders say what the figure is."""
    words = rng.choice(("", "a ", "a picture of ")) + " ".join(PLACEHOLDERS)
    return captions.plain(scene).replace(NAMED, words)
