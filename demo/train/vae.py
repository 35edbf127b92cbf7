"""Trains the autoencoder, and later a decoder that is better still: the separate VAE.

Pictures become latents an eighth as wide and high, with four channels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from demo.draw import scenes
from demo.train import latent_scale, networks, parallel, pictures, trainer, vae_start
from demo.train.budget import Budget
from demo.train.trainer import Trainer

NAME, FINETUNED = "vae", "vae-finetuned"
BATCH = 8
FIGURE_WEIGHT = 1.0
TONE_WEIGHT = 0.2
CROP = 32
CROP_SHARE = 0.75  # of the steps see crops, of which twice as many cost half
HELD_OUT = 256
SCALED = "vae-scaled.pt"  # the trained autoencoder with Stable Diffusion's latent scale
SCALE_PICTURES = 512


def train(folder: Path, budget: Budget) -> None:
    """Trains encoder and decoder from the plain start."""
    torch.manual_seed(0)
    vae = networks.build_vae()
    vae_start.start(vae)
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=NAME,
        network=vae,
        steps=budget.vae_steps,
        learning_rate=2e-4,
        matrix_rate=4e-4,
        warmup=100,
    )
    if training.progress < 1:
        data, _ = pictures.draw_many(scenes.draw_training, budget.vae_pictures, seed=1)

    def losses() -> dict[str, torch.Tensor]:
        cropping = training.progress < CROP_SHARE
        chosen = torch.randint(len(data), (parallel.share(BATCH) * (2 if cropping else 1),))
        batch = pictures.to_network(data[chosen])
        both = torch.cat([batch, coverage(batch).float()], dim=1)
        both = crops(both, CROP) if cropping else both
        with torch.autocast("cpu", torch.bfloat16):
            return _losses(vae, both[:, :3], both[:, 3:])

    training.run(losses)
    if parallel.rank() or (folder / SCALED).exists():
        return
    training.use_average()
    print(f"vae: {psnr(vae, held_out()):.2f} dB on {HELD_OUT} held-out pictures")
    pixels, _ = pictures.draw_many(scenes.draw_training, SCALE_PICTURES, seed=3)
    latent_scale.normalise(vae, pictures.to_network(pixels))
    partial = (folder / SCALED).with_suffix(".partial")
    torch.save(vae.state_dict(), partial)
    partial.replace(folder / SCALED)


def train_decoder(folder: Path, budget: Budget) -> None:
    """Trains the decoder alone for longer; latents stay what they are, as with Stability's `ft-mse`."""
    torch.manual_seed(0)
    vae = load(folder)
    vae.decoder.requires_grad_(True).train()
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=FINETUNED,
        network=vae,
        steps=budget.finetuned_vae_steps,
        learning_rate=1e-4,
        matrix_rate=2e-4,
    )
    if training.progress < 1:
        data, _ = pictures.draw_many(scenes.draw_training, budget.vae_pictures, seed=11)

    def losses() -> dict[str, torch.Tensor]:
        batch = pictures.to_network(data[torch.randint(len(data), (parallel.share(BATCH),))])
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(batch).latent_dist.sample()
            difference = vae.decode(latents).sample - batch
            weight = 1 + FIGURE_WEIGHT * coverage(batch)
            loss = (weight * (difference.abs() + 2 * difference.square())).mean()
        return {"loss": loss, "square": difference.square().mean()}

    training.run(losses)


def load(folder: Path) -> AutoencoderKL:
    """The trained autoencoder, frozen, with Stable Diffusion's latent scale folded in."""
    vae = networks.build_vae().eval().requires_grad_(False)
    vae.load_state_dict(torch.load(folder / SCALED, weights_only=True))
    return vae


def load_finetuned(folder: Path) -> AutoencoderKL:
    """The same autoencoder with the decoder that was trained for longer."""
    vae = load(folder)
    vae.decoder.requires_grad_(True)
    trainer.load(folder, FINETUNED, vae)
    return vae.eval().requires_grad_(False)


def held_out() -> torch.Tensor:
    """Pictures that no training drew."""
    return pictures.draw_many(scenes.draw_any, HELD_OUT, seed=2)[0]


def coverage(batch: torch.Tensor) -> torch.Tensor:
    """Where pictures (in -1 to 1) show a figure and not the background, (count, 1, height, width)."""
    return (batch - batch[:, :, :1, :1]).abs().amax(dim=1, keepdim=True) > 0.05


def crops(batch: torch.Tensor, side: int) -> torch.Tensor:
    """A random square of each picture."""
    corners = torch.randint(batch.shape[-1] - side + 1, (len(batch), 2)).tolist()
    return torch.stack([p[:, y : y + side, x : x + side] for p, (y, x) in zip(batch, corners, strict=True)])


@torch.no_grad()
def psnr(vae: AutoencoderKL, pixels: torch.Tensor) -> float:
    """Peak signal to noise ratio in dB of encoding and decoding."""
    error = torch.cat(
        [
            vae.decode(vae.encode(batch).latent_dist.mean).sample.clamp(-1, 1) - batch
            for batch in torch.split(pictures.to_network(pixels), 16)
        ]
    )
    return float(-10 * torch.log10((error / 2).square().mean()))


def _losses(vae: AutoencoderKL, batch: torch.Tensor, covered: torch.Tensor) -> dict[str, torch.Tensor]:
    """Reconstruction error, in which figures count more than the background.

    Three latent channels are drawn towards the picture's own tones, eight times reduced: latents that look
    like pictures are easy for the UNet. The fourth is free for what tones do not tell.
    """
    posterior = vae.encode(batch).latent_dist
    difference = vae.decode(posterior.sample()).sample - batch
    weight = 1 + FIGURE_WEIGHT * covered
    absolute, square = (weight * difference.abs()).mean(), (weight * difference.square()).mean()
    reduced = functional.avg_pool2d(batch, 8)
    tones = (posterior.mean[:, :3] / vae_start.TONE_SCALE - reduced).abs().mean()
    divergence = posterior.kl().mean() / posterior.mean[0].numel()
    loss = absolute + square + TONE_WEIGHT * tones + 1e-5 * divergence
    return {"loss": loss, "square": difference.square().mean(), "tones": tones, "kl": divergence}
