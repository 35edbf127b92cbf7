"""SDXL and its refiner, tiny and with random weights: their networks as their own libraries make them, and
their tensors with the names of a single file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from demo.export import ldm_keys

Networks = dict[str, Any]
Weights = dict[str, torch.Tensor]

TEXT_LAYERS = 3
#: Of the vector that stands for the whole text.
POOLED = 192


def base() -> Networks:
    """Two text encoders, attention on the lower level only, told six numbers."""
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=64 + 128,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=POOLED + 6 * 256,
    )
    return {
        "unet": _strengthened(unet),
        "vae": _vae(),
        "text_encoder": CLIPTextModel(_clip(64, "quick_gelu")).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(_clip(128, "gelu")).eval(),
    }


def refiner() -> Networks:
    """The second text encoder alone, attention on the middle levels only, told five numbers."""
    torch.manual_seed(2)
    unet = UNet2DConditionModel(
        block_out_channels=(64, 64, 128, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=2,
        cross_attention_dim=128,
        attention_head_dim=(1, 1, 2, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=POOLED + 5 * 256,
    )
    text = CLIPTextModelWithProjection(_clip(128, "gelu")).eval()
    return {"unet": _strengthened(unet), "vae": _vae(), "text_encoder_2": text}


def single_file(networks: Networks, path: Path) -> Path:
    """The networks of either as one file."""
    weights = ldm_weights(networks)
    save_file({name: value.detach().clone().contiguous() for name, value in weights.items()}, path)
    return path


def ldm_weights(networks: Networks) -> Weights:
    """Their tensors under the names of a single file."""
    first, second = networks.get("text_encoder"), networks["text_encoder_2"]
    weights = {
        **ldm_unet(networks["unet"].state_dict()),
        **ldm_keys.vae(networks["vae"].state_dict()),
    }
    if first is not None:
        prefix = "conditioner.embedders.0.transformer.text_model."
        weights |= {f"{prefix}{name}": value for name, value in first.state_dict().items()}
    prefix = f"conditioner.embedders.{0 if first is None else 1}.model."
    return weights | {f"{prefix}{name}": v for name, v in open_clip_names(second.state_dict()).items()}


def ldm_unet(weights: Weights) -> Weights:
    """With what SDXL is told beside the time."""
    rest = dict(weights)
    told = {
        f"model.diffusion_model.label_emb.0.{place}.{kind}": rest.pop(f"add_embedding.linear_{number}.{kind}")
        for place, number in ((0, 1), (2, 2))
        for kind in ("weight", "bias")
    }
    return {**ldm_keys.unet(rest), **told}


def open_clip_names(weights: Weights, *, layers: int = TEXT_LAYERS) -> Weights:
    """transformers' names of a text model with projection, as OpenCLIP has them: q, k and v in one."""
    simple = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    inner = {
        "self_attn.out_proj": "attn.out_proj",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    result = {simple[name]: value for name, value in weights.items() if name in simple}
    result["text_projection"] = weights["text_projection.weight"].T
    result["logit_scale"] = torch.tensor(4.6)
    for layer in range(layers):
        theirs, ours = f"text_model.encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{theirs}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            result[f"{ours}.attn.in_proj_{kind}"] = torch.cat(parts)
            for old, new in inner.items():
                result[f"{ours}.{new}.{kind}"] = weights[f"{theirs}.{old}.{kind}"]
    return result


def _vae() -> Any:
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.13025,
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(10)
    return vae.eval()


def _strengthened(unet: Any) -> Any:
    """Untrained networks answer almost nothing."""
    with torch.no_grad():
        unet.conv_out.weight.mul_(30)
    return unet.eval()


def _clip(width: int, activation: str) -> Any:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=width // 64,
        projection_dim=POOLED,
        hidden_act=activation,
        initializer_range=0.5,
        bos_token_id=49406,
        eos_token_id=49407,
    )
