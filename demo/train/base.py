"""Trains the base checkpoint's UNet and text encoder together, on latents."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from demo.train import latents, networks, parallel, trainer
from demo.train.budget import Budget
from demo.train.diffusion import NoiseLoss
from demo.train.trainer import Trainer
from demo.train.vocabulary import Vocabulary

NAME = "base"
UNCAPTIONED = 0.1  # share trained on the empty prompt, for classifier-free guidance


class Model(nn.Module):
    """UNet and text encoder as one network, with a table of the vocabulary's known words."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.unet = networks.build_unet()
        self.text_encoder = networks.build_text_encoder()
        vocabulary.use_in(self.text_encoder)

    def context(self, tokens: torch.Tensor) -> torch.Tensor:
        """(rows, 77, width) of dense token numbers (rows, 77)."""
        with torch.autocast("cpu", torch.bfloat16):
            encoded: torch.Tensor = self.text_encoder(tokens)[0]
        return encoded.float()


def train(folder: Path, budget: Budget) -> None:
    """Trains from random weights."""
    torch.manual_seed(0)
    vocabulary = Vocabulary()
    model = Model(vocabulary)
    training = Trainer(
        folder=folder,
        checkpoint_seconds=budget.checkpoint_seconds,
        name=NAME,
        network=model,
        steps=budget.base_steps,
        learning_rate=1e-3,
        matrix_rate=3e-3,
        ema_decay=0.997,
        warmup=200,
    )
    if training.progress < 1:
        buckets = latents.load(folder)
        training.run(Losses(model=model, vocabulary=vocabulary, buckets=buckets, start=training.step))


def load(folder: Path, vocabulary: Vocabulary | None = None) -> Model:
    """The trained model, frozen; a larger vocabulary's new words start as the unknown one."""
    small = Vocabulary()
    model = Model(small)
    trainer.load(folder, NAME, model)
    if vocabulary is not None and len(vocabulary) > len(small):
        rows = model.text_encoder.get_input_embeddings().weight.detach()
        vocabulary.use_in(model.text_encoder)
        table = model.text_encoder.get_input_embeddings().weight
        with torch.no_grad():
            table.copy_(rows[:1].expand(len(vocabulary), -1))
            table[: len(small)] = rows
    return model.eval().requires_grad_(False)


class Losses:
    """Draws a batch of one size and returns the error of the predicted noise; `start` seeds the sizes."""

    def __init__(
        self, *, model: Model, vocabulary: Vocabulary, buckets: list[latents.Bucket], start: int
    ) -> None:
        self.model, self.buckets = model, buckets
        self.tokens = [
            latents.caption_tokens(vocabulary, bucket.scenes, seed=seed)
            for seed, bucket in enumerate(buckets)
        ]
        self.empty = vocabulary.encode([""])[0]
        self.shares = torch.tensor([float(bucket.latents[:, 0].numel()) for bucket in buckets])
        # All processes take the same size at a time, so that none waits for another.
        self.sizes = torch.Generator().manual_seed(start)
        self.noise_loss = NoiseLoss()

    def __call__(self) -> dict[str, torch.Tensor]:
        which = int(torch.multinomial(self.shares, 1, generator=self.sizes))
        bucket = self.buckets[which]
        rows = parallel.share(bucket.batch)
        chosen = torch.randint(len(bucket.latents), (rows,))
        tokens = self.tokens[which][chosen, torch.randint(latents.CAPTIONS, (rows,))]
        tokens[torch.rand(rows) < UNCAPTIONED] = self.empty
        context = self.model.context(tokens)
        return self.noise_loss(
            bucket.latents[chosen], lambda noisy, at: self.model.unet(noisy, at, context).sample
        )
