"""Step 1: trains the autoencoder. `python -m model.train_vae --minutes 15`"""

from __future__ import annotations

import argparse
import random

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional

from model import networks, shapes, training, vae_start

PICTURES = 12_000
HELD_OUT = 128
SHAPE_WEIGHT = 1.0
TONE_WEIGHT = 0.2
CROP = 32
CROP_SHARE = 0.75  # of the budget is spent on crops, which cost a quarter


def pictures(count: int, seed: int) -> torch.Tensor:
    """Renders `count` pictures of random subjects as uint8 (count, 3, side, side)."""
    rng = random.Random(seed)
    stack = np.stack([np.asarray(shapes.render(rng.choice(shapes.SUBJECTS), rng)) for _ in range(count)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


def to_network(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pictures as the networks see them, -1 to 1."""
    return pixels.float() / 127.5 - 1


def coverage(pictures: torch.Tensor) -> torch.Tensor:
    """Where pictures (in -1 to 1) show the shape and not the background, (count, 1, side, side)."""
    return (pictures - pictures[:, :, :1, :1]).abs().amax(dim=1, keepdim=True) > 0.05


def crops(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """A random square of each picture. Their middle, where the shape is, is in most of them."""
    corners = torch.randint(pictures.shape[-1] - side + 1, (len(pictures), 2)).tolist()
    return torch.stack(
        [p[:, y : y + side, x : x + side] for p, (y, x) in zip(pictures, corners, strict=True)]
    )


def losses(vae: AutoencoderKL, batch: torch.Tensor, covered: torch.Tensor) -> dict[str, torch.Tensor]:
    """Reconstruction error, in which the shape counts more than the background.

    Three latent channels are drawn towards the picture's own tones, eight times reduced: latents that look
    like pictures are easy for the UNet. The fourth is free for what tones do not tell.
    """
    posterior = vae.encode(batch).latent_dist
    difference = vae.decode(posterior.sample()).sample - batch
    weight = 1 + SHAPE_WEIGHT * covered
    absolute, square = (weight * difference.abs()).mean(), (weight * difference.square()).mean()
    reduced = functional.avg_pool2d(batch, 8)
    tones = (posterior.mean[:, :3] / vae_start.TONE_SCALE - reduced).abs().mean()
    divergence = posterior.kl().mean() / posterior.mean[0].numel()
    loss = absolute + square + TONE_WEIGHT * tones + 1e-5 * divergence
    return {"loss": loss, "square": difference.square().mean(), "tones": tones, "kl": divergence}


@torch.no_grad()
def psnr(vae: AutoencoderKL, pixels: torch.Tensor) -> float:
    """Peak signal to noise ratio in dB of encoding and decoding."""
    error = torch.cat(
        [
            vae.decode(vae.encode(batch).latent_dist.mean).sample.clamp(-1, 1) - batch
            for batch in torch.split(to_network(pixels), 16)
        ]
    )
    return float(-10 * torch.log10((error / 2).square().mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--bf16", action="store_true", help="CPU bfloat16 where it is faster")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    vae: AutoencoderKL = networks.build_vae()
    vae_start.start(vae)
    trainer = training.Trainer(
        name="vae", network=vae, minutes=arguments.minutes, learning_rate=7e-4, ema_decay=0.99
    )
    data = pictures(PICTURES, seed=1)

    def batch_losses() -> dict[str, torch.Tensor]:
        cropping = trainer.spent < CROP_SHARE * trainer.budget
        chosen = torch.randint(len(data), (arguments.batch * (2 if cropping else 1),))
        batch = to_network(data[chosen])
        both = torch.cat([batch, coverage(batch).float()], dim=1)
        both = crops(both, CROP) if cropping else both
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            return losses(vae, both[:, :3], both[:, 3:])

    trainer.run(batch_losses, warmup=40)
    final: nn.Module = networks.build_vae()
    training.load_weights("vae", final)
    print(f"held-out PSNR {psnr(final, pictures(HELD_OUT, seed=2)):.1f} dB after {trainer.step} steps")


if __name__ == "__main__":
    main()
