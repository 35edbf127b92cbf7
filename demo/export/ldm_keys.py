"""Names and layout of the original Stable Diffusion single file, from diffusers' names.

Pure: state dicts in, state dicts out. The numbering follows from the layout itself: the original UNet counts
every residual block and every resampling of the way down (and up) in one row, its autoencoder counts levels
of the decoder from the finest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

Weights = dict[str, torch.Tensor]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."
CONTROL_PREFIX = "control_model."

_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

_UNET_PART = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_VAE_PART = re.compile(
    r"(en|de)coder\.(?:down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_MIDDLE_PART = re.compile(r"(.*?)mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def unet(weights: Mapping[str, torch.Tensor]) -> Weights:
    """UNet2DConditionModel's weights under the original names."""
    stride = 1 + _count(weights, r"down_blocks\.0\.resnets\.(\d+)\.")
    return {
        UNET_PREFIX + _unet_key(key, stride, _has_attention(weights, key)): value
        for key, value in weights.items()
    }


def controlnet(weights: Mapping[str, torch.Tensor]) -> Weights:
    """ControlNetModel's weights under the names of the original ControlNet's single files."""
    stride = 1 + _count(weights, r"down_blocks\.0\.resnets\.(\d+)\.")
    return {CONTROL_PREFIX + _control_key(key, stride): value for key, value in weights.items()}


def vae(weights: Mapping[str, torch.Tensor], prefix: str = VAE_PREFIX) -> Weights:
    """AutoencoderKL's weights under the original names; its attention projections become 1x1 convolutions.

    In a file of its own an autoencoder has no prefix.
    """
    levels = _count(weights, r"decoder\.up_blocks\.(\d+)\.")
    result: Weights = {}
    for key, value in weights.items():
        renamed = _vae_key(key, levels)
        is_projection = ".mid.attn_1." in renamed and value.ndim == 2
        result[prefix + renamed] = value[:, :, None, None] if is_projection else value
    return result


def text(weights: Mapping[str, torch.Tensor]) -> Weights:
    """CLIPTextModel's weights under the original names. Some releases leave out the `text_model.` prefix."""
    return {
        TEXT_PREFIX + (key if key.startswith("text_model.") else f"text_model.{key}"): value
        for key, value in weights.items()
    }


def _unet_key(key: str, stride: int, level_has_attention: bool) -> str:
    name, _, leaf = key.rpartition(".")
    if name in _UNET_ENDS:
        return f"{_UNET_ENDS[name]}.{leaf}"
    if match := _MIDDLE_PART.fullmatch(key):
        _, part, index, rest = match.groups()
        return f"middle_block.1.{rest}" if part == "attentions" else (
            f"middle_block.{2 * int(index)}.{_rename(rest, _UNET_RESNET)}"
        )  # fmt: skip
    match = _UNET_PART.fullmatch(key)
    if match is None:
        raise ValueError(f"UNet weight {key!r} has no place in the original layout")
    way, level, part, index, rest = match.groups()
    first = int(level) * stride
    row = f"input_blocks.{1 + first + int(index)}" if way == "down" else f"output_blocks.{first + int(index)}"
    if part == "resnets":
        return f"{row}.0.{_rename(rest, _UNET_RESNET)}"
    if part == "attentions":
        return f"{row}.1.{rest}"
    if part == "downsamplers":
        return f"input_blocks.{first + stride}.0.{_rename(rest, {'conv': 'op'})}"
    # Upsampling shares a row with the level's last residual block and stands behind its attention.
    return f"output_blocks.{first + stride - 1}.{2 if level_has_attention else 1}.{rest}"


def _control_key(key: str, stride: int) -> str:
    name, _, leaf = key.rpartition(".")
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d+)", name):
        return f"zero_convs.{match[1]}.0.{leaf}"
    if name == "controlnet_mid_block":
        return f"middle_block_out.0.{leaf}"
    if name.startswith("controlnet_cond_embedding."):
        return f"input_hint_block.{_hint_index(name)}.{leaf}"
    return _unet_key(key, stride, level_has_attention=False)  # there is no way up, which this is about


def _hint_index(name: str) -> int:
    """The original counts the activations between the hint's convolutions too."""
    part = name.removeprefix("controlnet_cond_embedding.")
    if match := re.fullmatch(r"blocks\.(\d+)", part):
        return 2 * (int(match[1]) + 1)
    return {"conv_in": 0, "conv_out": 14}[part]


def _vae_key(key: str, levels: int) -> str:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if match := _MIDDLE_PART.fullmatch(key):
        coder, part, index, rest = match.groups()
        if part == "attentions":
            return f"{coder}mid.attn_1.{_rename(rest, _VAE_ATTENTION)}"
        return f"{coder}mid.block_{int(index) + 1}.{rest}"
    match = _VAE_PART.fullmatch(key)
    if match is None:
        return key
    coder, level, part, index, rest = match.groups()
    row = f"encoder.down.{level}" if coder == "en" else f"decoder.up.{levels - 1 - int(level)}"
    if part == "resnets":
        return f"{row}.block.{index}.{rest}"
    return f"{row}.{'downsample' if coder == 'en' else 'upsample'}.{rest}"


def _rename(rest: str, names: Mapping[str, str]) -> str:
    """Translates the module's name in `name.weight` or `name.bias`."""
    name, _, leaf = rest.rpartition(".")
    if name not in names:
        raise ValueError(f"weight {rest!r} has no place in the original layout; known are {', '.join(names)}")
    return f"{names[name]}.{leaf}"


def _has_attention(weights: Mapping[str, torch.Tensor], key: str) -> bool:
    block = ".".join(key.split(".")[:2])
    return any(other.startswith(f"{block}.attentions.") for other in weights)


def _count(weights: Mapping[str, torch.Tensor], pattern: str) -> int:
    return len({match[1] for key in weights if (match := re.match(pattern, key))})
