"""The demo model's networks: Stable Diffusion 1.5 in miniature.

Whatever the weights' shapes do not show (32 norm groups, 8 attention heads, text heads of 64 channels, noise
schedule, latent scale) equals Stable Diffusion 1.5, so a loader can derive everything from the file alone.
"""

from __future__ import annotations

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from demo.train import vocabulary

SCALING_FACTOR = 0.18215  # Stable Diffusion 1.5's; latent_scale.py folds this model's own into the weights
VAE_CHANNELS = (96, 64, 64, 96)
UNET_CHANNELS = (64, 96, 96)
TEXT_WIDTH = 128
TEXT_LAYERS = 2


def build_vae() -> AutoencoderKL:
    """An eight times reducing autoencoder. Where pictures and latents leave it, norm groups have three
    channels: with one or two, the norm would take a flat tone out of them."""
    return AutoencoderKL(
        sample_size=64,
        block_out_channels=VAE_CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * len(VAE_CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(VAE_CHANNELS),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        scaling_factor=SCALING_FACTOR,
    )


def build_unet() -> UNet2DConditionModel:
    """Three levels of which, as in Stable Diffusion 1.5, the coarsest has no attention."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=UNET_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,  # diffusers means the number of heads here
    )


def build_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=TEXT_WIDTH // 64,
            max_position_embeddings=vocabulary.TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )
