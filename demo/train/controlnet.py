"""Trains a ControlNet for Canny edges on the base checkpoint's UNet.

After "Adding Conditional Control to Text-to-Image Diffusion Models" (Zhang et al. 2023): a copy of the way
down, joined by convolutions that start at zero. Figures are turned, shifted and of any size, so that only
the edges can tell where they are.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from diffusers import ControlNetModel

from demo.draw import captions, control, scenes
from demo.draw.drawing import Style
from demo.draw.scenes import Figure, Scene
from demo.draw.words import BACKGROUNDS, PLACES, SIZES
from demo.train import base, latents, parallel, pictures, trainer, vae
from demo.train.base import Model
from demo.train.budget import Budget
from demo.train.diffusion import NoiseLoss
from demo.train.trainer import Trainer
from demo.train.vocabulary import Vocabulary

NAME = "controlnet"
BATCH = 48
STYLE = Style(turn_degrees=180, centre_jitter=0.12, radius_jitter=0.25)


def train(folder: Path, budget: Budget) -> None:
    """Trains the copy; the UNet it steers stays as it is."""
    torch.manual_seed(0)
    vocabulary = Vocabulary()
    model = base.load(folder)
    network = build(model)
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=NAME,
        network=network,
        steps=budget.controlnet_steps,
        learning_rate=1e-3,
        matrix_rate=3e-3,
    )
    if training.progress >= 1:
        return
    pixels, shown = pictures.draw_many(
        scenes.draw_training, budget.controlnet_pictures, seed=500, style=STYLE
    )
    hints = control_maps(pixels)
    clean = latents.encode(vae.load(folder), pixels)
    tokens = latents.caption_tokens(vocabulary, shown, seed=500, names_place=False)
    empty = vocabulary.encode([""])[0]
    noise_loss, rows = NoiseLoss(), parallel.share(BATCH)

    def losses() -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(clean), (rows,))
        words = tokens[chosen, torch.randint(latents.CAPTIONS, (rows,))]
        words[torch.rand(rows) < base.UNCAPTIONED] = empty
        with torch.no_grad():
            context = model.context(words)
        hint = hints[chosen, None].expand(-1, 3, -1, -1).float()

        def predict(noisy: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            down, middle = network(noisy, at, context, controlnet_cond=hint, return_dict=False)
            predicted: torch.Tensor = model.unet(
                noisy, at, context, down_block_additional_residuals=down, mid_block_additional_residual=middle
            ).sample
            return predicted

        return noise_loss(clean[chosen], predict)

    training.run(losses)


def build(model: Model) -> ControlNetModel:
    """A ControlNet that starts as the UNet's way down and changes nothing."""
    return ControlNetModel.from_unet(model.unet, conditioning_channels=3).requires_grad_(True)


def load(folder: Path) -> ControlNetModel:
    """The trained network, frozen."""
    network = build(base.load(folder))
    trainer.load(folder, NAME, network)
    return network.eval().requires_grad_(False)


def control_maps(pixels: torch.Tensor) -> torch.Tensor:
    """Edges (count, height, width) of uint8 pictures (count, 3, height, width)."""
    return torch.stack([torch.from_numpy(control.canny(p.permute(1, 2, 0).numpy())) for p in pixels])


def prompt(scene: Scene) -> str:
    """A caption of one figure that leaves its place to the control map."""
    return captions.plain(scene).replace(f" {PLACES[scene.layout]}", "")


def control_pictures(count: int, seed: int) -> tuple[torch.Tensor, list[Scene]]:
    """Pictures of one figure to take control maps from: colours and shapes that training never combined."""

    def choose(rng: random.Random) -> Scene:
        colour, shape = rng.choice(sorted(scenes.NEVER_TOGETHER))
        figure = Figure(colour, shape, rng.choice(SIZES))
        return Scene(rng.choice(tuple(BACKGROUNDS)), rng.choice(tuple(PLACES)), (figure,))

    return pictures.draw_many(choose, count, seed, style=STYLE)
