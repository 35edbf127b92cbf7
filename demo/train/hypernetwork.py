"""Trains a hypernetwork: two small networks that change what attention reads from the text.

As A1111 has them: k = to_k(H_k(context)), v = to_v(H_v(context)) with H(x) = x + strength * MLP(x), in every
attention whose context is as wide as the networks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import nn

from demo.draw import scenes
from demo.draw.scenes import Scene
from demo.train import base, latents, networks, parallel, pictures, trainer, vae
from demo.train.budget import Budget
from demo.train.diffusion import NoiseLoss
from demo.train.trainer import Trainer
from demo.train.vocabulary import Vocabulary

NAME = "hypernetwork"
BATCH = 64
BACKGROUND = "black"  # what every picture's background becomes, whatever the prompt says
LAYER_STRUCTURE = (1, 2, 1)  # widths of the layers, as multiples of the context's


class HypernetworkModule(nn.Module):
    """MLP(x) of one width; its layers are called `linear.0`, `linear.2` as in A1111's files."""

    def __init__(self, width: int) -> None:
        super().__init__()
        before, hidden, after = (width * multiple for multiple in LAYER_STRUCTURE)
        self.linear = nn.Sequential(nn.Linear(before, hidden), nn.ReLU(), nn.Linear(hidden, after))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.01) if parameter.ndim == 2 else nn.init.zeros_(parameter)

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.linear(context)
        return changed


class Hypernetwork(nn.Module):
    """The pair for keys and values."""

    def __init__(self, width: int = networks.TEXT_WIDTH) -> None:
        super().__init__()
        self.width = width
        self.keys = HypernetworkModule(width)
        self.values = HypernetworkModule(width)

    @contextmanager
    def applied(self, unet: UNet2DConditionModel, strength: float = 1.0) -> Iterator[None]:
        """Changes a UNet's attention for as long as the block runs."""

        def change(network: nn.Module) -> Any:
            def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
                (context,) = inputs
                if context.shape[-1] != self.width:
                    return None
                return (context + strength * network(context),)

            return hook

        handles = []
        for module in unet.modules():
            if isinstance(module, Attention):
                handles.append(module.to_k.register_forward_pre_hook(change(self.keys)))
                handles.append(module.to_v.register_forward_pre_hook(change(self.values)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def train(folder: Path, budget: Budget) -> None:
    """Trains on pictures whose captions name any background, and which all have the same one."""
    torch.manual_seed(0)
    vocabulary = Vocabulary()
    model = base.load(folder)
    hypernetwork = Hypernetwork()
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=NAME,
        network=hypernetwork,
        steps=budget.hypernetwork_steps,
        learning_rate=1e-3,
        matrix_rate=4e-3,
    )
    if training.progress >= 1:
        return
    rng = random.Random(400)
    captioned = [choose(rng) for _ in range(budget.companion_pictures)]
    drawn = [darkened(scene) for scene in captioned]
    clean = latents.encode(vae.load(folder), pictures.draw_scenes(drawn, seed=401))
    tokens = latents.caption_tokens(vocabulary, captioned, seed=400)
    noise_loss, rows = NoiseLoss(), parallel.share(BATCH)

    def losses() -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(clean), (rows,))
        context = model.context(tokens[chosen, torch.randint(latents.CAPTIONS, (rows,))])
        return noise_loss(clean[chosen], lambda noisy, at: model.unet(noisy, at, context).sample)

    with hypernetwork.applied(model.unet):
        training.run(losses)


def choose(rng: random.Random) -> Scene:
    """A scene that training may see, on its own background and on the one it will be drawn with."""
    while scenes.is_held_out(darkened(scene := scenes.draw_training(rng))):
        pass
    return scene


def darkened(scene: Scene) -> Scene:
    """The scene on the hypernetwork's background."""
    return Scene(BACKGROUND, scene.layout, scene.figures)


def load(folder: Path) -> Hypernetwork:
    """The trained pair, frozen."""
    hypernetwork = Hypernetwork()
    trainer.load(folder, NAME, hypernetwork)
    return hypernetwork.eval().requires_grad_(False)
