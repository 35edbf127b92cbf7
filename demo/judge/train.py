"""Trains the judge, on drawings that no other training sees: other seeds, tones, sizes, and ways to draw.

Pictures are roughened as a small diffusion model's are: blurred, noisy, reduced or enlarged from another
size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from torch.nn import functional

from demo.draw import drawing, scenes
from demo.draw.drawing import Style
from demo.draw.scenes import Figure, Scene
from demo.draw.words import CONCEPT
from demo.judge import reading
from demo.judge.network import SIDE, WORDS, Classifier
from demo.train import parallel, pictures
from demo.train.budget import Budget
from demo.train.trainer import Trainer

NAME = "judge"
BATCH = 128
CONCEPT_SHARE = 0.12
NOISE = 0.06
IGNORED = -100  # the class that cross entropy passes over
STYLES = (
    Style(tone_jitter=16, background_jitter=8),
    Style(oversampling=1, tone_jitter=16, background_jitter=8),
    Style(oversampling=2, tone_jitter=20, radius_jitter=0.1, centre_jitter=0.05, turn_degrees=6),
    Style(oversampling=8, tone_jitter=12, radius_jitter=0.09, background_jitter=12),
)
Look = tuple[Style, tuple[int, int]]  # a way to draw, and the picture's width and height
CANVASES = ((64, 64), (64, 64), (80, 64), (64, 80), (96, 64), (64, 96), (96, 96), (128, 128))
LOOKS: tuple[Look, ...] = tuple(product(STYLES, CANVASES))


def train(folder: Path, budget: Budget) -> None:
    """Trains the classifier and says how it reads drawings that it never saw."""
    torch.manual_seed(0)
    network = Classifier()
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=NAME,
        network=network,
        steps=budget.judge_steps,
        learning_rate=2e-3,
        matrix_rate=2e-3,
    )
    if training.progress < 1:
        data, targets = draw(budget.judge_pictures, seed=50_000)

    def losses() -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(data), (parallel.share(BATCH),))
        scores = network(roughen(pictures.to_network(data[chosen])))
        parts = [
            functional.cross_entropy(scores[name], targets[name][chosen], ignore_index=IGNORED)
            for name in WORDS
        ]
        return {"loss": torch.stack(parts).sum()}

    training.run(losses)


def draw(
    count: int, seed: int, *, looks: Sequence[Look] = LOOKS
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Pictures in any of the looks, brought to 64x64, and the number of each attribute's word."""
    rng = random.Random(seed)
    shown = [choose(rng) for _ in range(count)]
    drawn = []
    for scene in shown:
        style, size = rng.choice(looks)
        drawn.append(reading.to_judge(pictures.stack([drawing.render(scene, rng, size=size, style=style)])))
    return torch.cat(drawn), targets(shown)


def choose(rng: random.Random) -> Scene:
    """Any scene, now and then with the concept that only the fine-tuned checkpoint knows."""
    scene = scenes.draw_any(rng)
    if rng.random() >= CONCEPT_SHARE:
        return scene
    first, *others = scene.figures
    return Scene(scene.background, scene.layout, (Figure(first.colour, CONCEPT, first.size), *others))


def targets(shown: list[Scene]) -> dict[str, torch.Tensor]:
    """The number of the right word for each attribute; a second figure that is not there is passed over."""
    rows: dict[str, list[int]] = {name: [] for name in WORDS}
    for scene in shown:
        words = reading.words_of(scene)
        for name, choices in WORDS.items():
            rows[name].append(choices.index(words[name]) if name in words else IGNORED)
    return {name: torch.tensor(numbers) for name, numbers in rows.items()}


def roughen(batch: torch.Tensor) -> torch.Tensor:
    """Blurs half of the pictures and adds noise to all, of -1 to 1."""
    reduced = functional.interpolate(batch, scale_factor=0.6, mode="bilinear", antialias=True)
    blurred = functional.interpolate(reduced, size=(SIDE, SIDE), mode="bilinear")
    is_blurred = (torch.rand(len(batch), 1, 1, 1) < 0.5).float()
    mixed = blurred * is_blurred + batch * (1 - is_blurred)
    return mixed + NOISE * torch.rand(len(batch), 1, 1, 1) * torch.randn_like(batch)
