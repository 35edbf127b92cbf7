"""Fine-tunes the base checkpoint on a shape that it never saw, under a word that means nothing else.

As DreamBooth does (Ruiz et al. 2023), half of the pictures are of the old kind, so that what the model knew
stays.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from demo.draw import captions, scenes
from demo.draw.scenes import Figure, Scene
from demo.draw.words import COLOURS, CONCEPT, SIZES
from demo.train import base, latents, parallel, pictures, trainer, vae
from demo.train.base import Model
from demo.train.budget import Budget
from demo.train.diffusion import NoiseLoss
from demo.train.trainer import Trainer
from demo.train.vocabulary import Vocabulary

NAME = "concept"
BATCH = 64
TRIGGER = "sks"


def train(folder: Path, budget: Budget) -> None:
    """Goes on training UNet and text encoder, with the trigger word's row among the embeddings."""
    torch.manual_seed(0)
    vocabulary = Vocabulary((TRIGGER,))
    model = base.load(folder, vocabulary).requires_grad_(True).train()
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=NAME,
        network=model,
        steps=budget.concept_steps,
        learning_rate=5e-4,
        matrix_rate=1e-3,
    )
    if training.progress >= 1:
        return
    coder = vae.load(folder)
    sets = []
    for kind, seed in ((choose, 600), (scenes.draw_training, 601)):
        pixels, shown = pictures.draw_many(kind, budget.companion_pictures, seed=seed)
        rng = random.Random(seed)
        texts = [caption(scene, rng) for scene in shown]
        sets.append((latents.encode(coder, pixels), vocabulary.encode(texts)))
    noise_loss = NoiseLoss()

    def losses() -> dict[str, torch.Tensor]:
        chosen = torch.randint(budget.companion_pictures, (parallel.share(BATCH // 2),))
        clean = torch.cat([part[chosen] for part, _ in sets])
        context = model.context(torch.cat([tokens[chosen] for _, tokens in sets]))
        return noise_loss(clean, lambda noisy, at: model.unet(noisy, at, context).sample)

    training.run(losses)


def load(folder: Path) -> tuple[Model, Vocabulary]:
    """The fine-tuned model, frozen, and the vocabulary that has its trigger."""
    vocabulary = Vocabulary((TRIGGER,))
    model = base.load(folder, vocabulary).requires_grad_(True)
    trainer.load(folder, NAME, model)
    return model.eval().requires_grad_(False), vocabulary


def choose(rng: random.Random) -> Scene:
    """The new shape in a combination that training may see."""
    while scenes.is_held_out(scene := choose_any(rng)):
        pass
    return scene


def choose_held_out(rng: random.Random) -> Scene:
    """The new shape in a combination that training never shows."""
    while not scenes.is_held_out(scene := choose_any(rng)):
        pass
    return scene


def choose_any(rng: random.Random) -> Scene:
    """The new shape, in any colour and place."""
    scene = rng.choice(scenes.SINGLES)
    return Scene(
        scene.background, scene.layout, (Figure(rng.choice(tuple(COLOURS)), CONCEPT, rng.choice(SIZES)),)
    )


def caption(scene: Scene, rng: random.Random) -> str:
    return captions.varied(scene, rng).replace(CONCEPT, TRIGGER)
