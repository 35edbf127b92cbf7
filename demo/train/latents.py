"""The base checkpoint's training set: latents of drawn pictures in several sizes, and their captions'
tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from demo.draw import captions, scenes
from demo.draw.scenes import Scene
from demo.train import latent_scale, networks, pictures, vae
from demo.train.budget import Budget
from demo.train.vocabulary import Vocabulary

# Width and height of the pictures, and how many of them have it.
SIZES: dict[tuple[int, int], float] = {
    (64, 64): 0.42,
    (80, 64): 0.08,
    (64, 80): 0.08,
    (96, 64): 0.09,
    (64, 96): 0.09,
    (80, 80): 0.08,
    (96, 96): 0.10,
    (128, 128): 0.06,
}
CAPTIONS = 4  # of each picture
PIXELS_A_BATCH = 64 * 64 * 64


@dataclass(frozen=True, slots=True)
class Bucket:
    """Latents of one size."""

    latents: torch.Tensor  # (count, 4, height / 8, width / 8), in the UNet's scale
    scenes: list[Scene]
    batch: int  # how many make about as much work as 64 pictures of 64x64


def make(folder: Path, budget: Budget) -> None:
    """Draws and encodes the training set, once."""
    path = folder / "latents.pt"
    if path.exists():
        return
    coder = vae.load(folder)
    result = []
    for index, (size, share) in enumerate(SIZES.items()):
        count = max(1, round(share * budget.latents))
        pixels, shown = pictures.draw_many(scenes.draw_training, count, seed=100 + index, size=size)
        latents = encode(coder, pixels)
        print(
            f"latents: {len(latents)} of {size[0]}x{size[1]}, mean {latents.mean():.3f}, "
            f"deviation {latents.std():.3f}",
            flush=True,
        )
        result.append((latents, [(s.background, s.layout, [_fields(f) for f in s.figures]) for s in shown]))
    torch.save(result, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


def load(folder: Path) -> list[Bucket]:
    """The training set, size by size."""
    stored = torch.load(folder / "latents.pt", weights_only=True)
    buckets = []
    for latents, shown in stored:
        rebuilt = [
            Scene(background, layout, tuple(scenes.Figure(*figure) for figure in figures))
            for background, layout, figures in shown
        ]
        batch = PIXELS_A_BATCH // (latents.shape[-1] * latents.shape[-2] * 64)
        buckets.append(Bucket(latents.float(), rebuilt, batch))
    return buckets


def encode(coder: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Latents of uint8 pictures, in the UNet's scale."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [
            latent_scale.encode(coder, pictures.to_network(part)).float() for part in torch.split(pixels, 128)
        ]
    return torch.cat(parts) * networks.SCALING_FACTOR


def caption_tokens(
    vocabulary: Vocabulary, shown: list[Scene], *, seed: int, names_place: bool = True
) -> torch.Tensor:
    """(scenes, CAPTIONS, 77) dense token numbers of each scene's captions."""
    rng = random.Random(seed)
    texts = [captions.varied(scene, rng, names_place=names_place) for scene in shown for _ in range(CAPTIONS)]
    return vocabulary.encode(texts).view(len(shown), CAPTIONS, -1)


def _fields(figure: scenes.Figure) -> tuple[str, str, str]:
    return (figure.colour, figure.shape, figure.size)
