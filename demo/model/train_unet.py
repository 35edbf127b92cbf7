"""Step 2: trains UNet and text encoder together on latents. `python -m model.train_unet --minutes 30`"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from model import latent_scale, networks, sampling, shapes, training
from model.train_vae import to_network

PICTURES = 8_000
UNCAPTIONED = 0.1  # share trained on the empty prompt, for classifier-free guidance
SNR_CAP = 5.0


@dataclass(frozen=True, slots=True)
class Latents:
    """The training set: latents in the UNet's scale and which subject each shows."""

    latents: torch.Tensor  # (count, 4, 8, 8)
    subjects: torch.Tensor  # (count,) index into shapes.SUBJECTS


def load_vae() -> AutoencoderKL:
    """The trained autoencoder with its latent scale folded in."""
    vae: AutoencoderKL = networks.build_vae().eval().requires_grad_(False)
    training.load_weights("vae", vae)
    pixels, _ = render(512, seed=3)
    latent_scale.normalise(vae, to_network(pixels))
    return vae


def render(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 pictures (count, 3, side, side) and their subjects' indices."""
    rng = random.Random(seed)
    chosen = [rng.randrange(len(shapes.SUBJECTS)) for _ in range(count)]
    stack = np.stack([np.asarray(shapes.render(shapes.SUBJECTS[index], rng)) for index in chosen])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous(), torch.tensor(chosen)


def load_latents() -> Latents:
    """Encodes the training set once and keeps it in the cache beside the checkpoints."""
    path: Path = training.cache_folder() / "latents.pt"
    if not path.exists():
        vae = load_vae()
        pixels, subjects = render(PICTURES, seed=4)
        with torch.autocast("cpu", torch.bfloat16):
            parts = [latent_scale.encode(vae, to_network(part)).float() for part in torch.split(pixels, 256)]
        torch.save((torch.cat(parts) * networks.SCALING_FACTOR, subjects), path)
    latents, subjects = torch.load(path, weights_only=True)
    print(f"{len(latents)} latents, mean {latents.mean():.3f}, deviation {latents.std():.3f}", flush=True)
    return Latents(latents, subjects)


class Model(nn.Module):
    """UNet and text encoder as one network to train."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = networks.build_unet()
        self.text_encoder = networks.build_text_encoder()


class Losses:
    """Draws a batch and returns the error of the predicted noise."""

    def __init__(self, *, model: Model, data: Latents, batch: int) -> None:
        self.model, self.data, self.batch = model, data, batch
        captions = [subject.caption(t) for subject in shapes.SUBJECTS for t in shapes.TEMPLATES]
        # The empty prompt is the last row.
        self.tokens = sampling.tokenize(networks.load_tokenizer(), [*captions, ""])
        alphas = networks.alphas_cumprod()
        self.signal, self.noise = alphas.sqrt(), (1 - alphas).sqrt()
        snr = alphas / (1 - alphas)
        self.weight = snr.clamp(max=SNR_CAP) / snr  # see "min-SNR": nearly clean steps teach little

    def __call__(self) -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(self.data.latents), (self.batch,))
        clean = self.data.latents[chosen]
        noise = torch.randn_like(clean)
        timesteps = torch.randint(1000, (self.batch,))
        mixed = _column(self.signal[timesteps]) * clean + _column(self.noise[timesteps]) * noise
        context = self.model.text_encoder(self.tokens[self._captions(chosen)])[0]
        predicted = self.model.unet(mixed, timesteps, context).sample
        error = (predicted - noise).square().mean(dim=(1, 2, 3))
        return {"loss": (self.weight[timesteps] * error).mean(), "eps": error.mean()}

    def _captions(self, chosen: torch.Tensor) -> torch.Tensor:
        templates = torch.randint(len(shapes.TEMPLATES), (self.batch,))
        rows = self.data.subjects[chosen] * len(shapes.TEMPLATES) + templates
        rows[torch.rand(self.batch) < UNCAPTIONED] = len(self.tokens) - 1
        return rows


def _column(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--batch", type=int, default=48)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = Model()
    trainer = training.Trainer(
        name="unet", network=model, minutes=arguments.minutes, learning_rate=1e-3, ema_decay=0.995
    )
    # A resumed run must not draw the same batches again.
    torch.manual_seed(trainer.step)
    trainer.run(Losses(model=model, data=load_latents(), batch=arguments.batch), warmup=200)
    print(f"trained {trainer.step} steps")


if __name__ == "__main__":
    main()
