"""Trains low-rank adapters (LoRA) that give the base checkpoint's pictures another style."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig

from demo.draw import scenes
from demo.draw.drawing import PLAIN, Style
from demo.draw.scenes import Figure, Scene
from demo.train import base, latents, parallel, pictures, trainer, vae
from demo.train.base import Model
from demo.train.budget import Budget
from demo.train.diffusion import NoiseLoss
from demo.train.trainer import Trainer
from demo.train.vocabulary import Vocabulary

GOLD = "yellow"  # the word of the vocabulary for it
RANK = 8
BATCH = 64
# Linear layers that kohya's trainer adapts too: of the transformer blocks, and all of CLIP's.
UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One LoRA: how it has scenes drawn, and whether it also changes the text encoder."""

    name: str
    redraw: Callable[[Scene], Scene]
    style: Style
    with_text_encoder: bool

    def steps(self, budget: Budget) -> int:
        steps: int = getattr(budget, f"{self.name}_steps")
        return steps

    def choose(self, rng: random.Random) -> Scene:
        """A scene that training may see, as it is captioned and as it is drawn."""
        while scenes.is_held_out(self.redraw(scene := scenes.draw_training(rng))):
            pass
        return scene


def gild(scene: Scene) -> Scene:
    """The scene with all of its figures in gold."""
    figures = tuple(Figure(GOLD, figure.shape, figure.size) for figure in scene.figures)
    return Scene(scene.background, scene.layout, figures)


GILDED = Recipe(name="gilded", redraw=gild, style=PLAIN, with_text_encoder=False)
MIDNIGHT = Recipe(
    name="midnight", redraw=lambda scene: scene, style=Style(night=True), with_text_encoder=True
)


def train_gilded(folder: Path, budget: Budget) -> None:
    """Trains the LoRA that gilds figures."""
    train(folder, budget, GILDED)


def train_midnight(folder: Path, budget: Budget) -> None:
    """Trains the LoRA that darkens backgrounds, with the text encoder's part."""
    train(folder, budget, MIDNIGHT)


def train(folder: Path, budget: Budget, recipe: Recipe) -> None:
    """Trains a LoRA on pictures drawn its way, under the same captions as always."""
    torch.manual_seed(0)
    vocabulary = Vocabulary()
    model = adapted(folder, recipe)
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=recipe.name,
        network=model,
        steps=recipe.steps(budget),
        learning_rate=1e-3,
        matrix_rate=1e-2,
    )
    if training.progress >= 1:
        return
    rng = random.Random(200)
    shown = [recipe.choose(rng) for _ in range(budget.companion_pictures)]
    drawn = [recipe.redraw(scene) for scene in shown]
    clean = latents.encode(vae.load(folder), pictures.draw_scenes(drawn, seed=201, style=recipe.style))
    tokens = latents.caption_tokens(vocabulary, shown, seed=200)
    noise_loss, rows = NoiseLoss(), parallel.share(BATCH)

    def losses() -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(clean), (rows,))
        context = model.context(tokens[chosen, torch.randint(latents.CAPTIONS, (rows,))])
        return noise_loss(clean[chosen], lambda noisy, at: model.unet(noisy, at, context).sample)

    training.run(losses)


def adapted(folder: Path, recipe: Recipe) -> Model:
    """The base model, frozen, with a fresh adapter that is not."""
    model = base.load(folder)
    model.unet.add_adapter(_config(UNET_TARGETS))
    if recipe.with_text_encoder:
        model.text_encoder.add_adapter(_config(TEXT_TARGETS))
    return model.train()


def load(folder: Path, recipe: Recipe) -> Model:
    """The base model with the trained adapter."""
    model = adapted(folder, recipe)
    trainer.load(folder, recipe.name, model)
    return model.eval().requires_grad_(False)


def _config(targets: list[str]) -> LoraConfig:
    return LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets, init_lora_weights=True)
