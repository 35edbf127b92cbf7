"""DDIM sampling with classifier-free guidance: enough to see what the model learned, not a runtime."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from model import networks

LATENT_SHAPE = (4, 8, 8)


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> torch.Tensor:
    """(prompts, 77) token ids, padded with the end token as Stable Diffusion 1.5 does."""
    batch = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=networks.TOKENS, return_tensors="pt"
    )
    ids: torch.Tensor = batch["input_ids"]
    return ids


@torch.no_grad()
def sample_latents(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    prompts: Sequence[str],
    *,
    seed: int,
    steps: int = 20,
    cfg: float = 3.0,
) -> torch.Tensor:
    """Latents in the UNet's scale, one per prompt."""
    count = len(prompts)
    context = text_encoder(tokenize(tokenizer, [*prompts, *[""] * count]))[0]
    alphas = networks.alphas_cumprod()
    timesteps = [1000 // steps * i + 1 for i in reversed(range(steps))]
    latents = torch.randn((count, *LATENT_SHAPE), generator=torch.Generator().manual_seed(seed))
    for timestep in timesteps:
        wanted, empty = unet(torch.cat([latents] * 2), timestep, context).sample.chunk(2)
        noise = empty + cfg * (wanted - empty)
        alpha = alphas[timestep]
        before = alphas[max(timestep - 1000 // steps, 0)]
        clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        latents = before.sqrt() * clean + (1 - before).sqrt() * noise
    return latents


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """uint8 pictures (count, 3, side, side) from latents in the UNet's scale."""
    batches = torch.split(latents / networks.SCALING_FACTOR, 16)
    pixels = torch.cat([vae.decode(batch).sample for batch in batches])
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
