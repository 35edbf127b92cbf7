"""Network configurations read off the names and shapes of a checkpoint's own tensors.

So that no config file has to be found for a model: what shapes cannot show is fixed by the family
(`Conventions`). Pure; the results are the keyword arguments of diffusers' and transformers' classes. Names
are relative to their part's prefix.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sd_runtime.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """What a family fixes and its weights do not show; defaults are what the SD families share."""

    unet_heads: int | None  # the same number on every level, or
    unet_head_width: int | None  # the same width of a head
    latent_scale: float
    #: How many numbers about the picture the network is told beside the time; 0: none.
    told_numbers: int = 0
    norm_groups: int = 32
    text_head_width: int = 64
    beta_start: float = 0.00085
    beta_end: float = 0.012


@dataclass(frozen=True, slots=True)
class _Level:
    channels: int
    resnets: int
    depth: int  # transformer blocks after each resnet; 0: no attention


def unet_config(shapes: Shapes, conventions: Conventions) -> Config:
    """Arguments of `UNet2DConditionModel` for LDM names below `model.diffusion_model.`."""
    levels = _unet_levels(shapes)
    config = _way_down(shapes, conventions, levels, _LDM)
    config["out_channels"] = _shape(shapes, "out.2.weight")[0]
    config["up_block_types"] = tuple(
        "CrossAttnUpBlock2D" if level.depth else "UpBlock2D" for level in reversed(levels)
    )
    return config


def controlnet_config(shapes: Shapes, conventions: Conventions) -> Config:
    """Arguments of `ControlNetModel` for LDM names below `control_model.`."""
    config = _way_down(shapes, conventions, _unet_levels(shapes), _LDM)
    hint = [_shape(shapes, f"input_hint_block.{place}.weight") for place in _LDM_HINT]
    return config | _hint_config(hint)


def diffusers_controlnet_config(shapes: Shapes, conventions: Conventions) -> Config:
    """Arguments of `ControlNetModel` for the names that diffusers itself saves."""
    config = _way_down(shapes, conventions, _diffusers_levels(shapes), _DIFFUSERS)
    embedding = "controlnet_cond_embedding."
    blocks = _count(shapes, re.escape(embedding) + r"blocks\.(\d+)\.")
    names = ["conv_in", *(f"blocks.{place}" for place in range(1, blocks, 2))]
    return config | _hint_config([_shape(shapes, f"{embedding}{name}.weight") for name in names])


def _hint_config(convolutions: list[tuple[int, ...]]) -> Config:
    """The first of what a control map goes through, and those that make it smaller."""
    return {
        "conditioning_channels": convolutions[0][1],
        "conditioning_embedding_out_channels": tuple(shape[0] for shape in convolutions),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What parts of a U-Net's way down are called."""

    first: str
    middle: str
    told: str


_LDM = _Names(first="input_blocks.0.0.weight", middle="middle_block.1", told="label_emb.0.0.weight")
_DIFFUSERS = _Names(
    first="conv_in.weight", middle="mid_block.attentions.0", told="add_embedding.linear_1.weight"
)
#: Of what a control map goes through: the first convolution and those that make it smaller.
_LDM_HINT = (0, 4, 8, 12)


def _way_down(shapes: Shapes, conventions: Conventions, levels: list[_Level], names: _Names) -> Config:
    """What networks with a U-Net's way down and middle have in common."""
    if len({level.resnets for level in levels}) != 1:
        raise CheckpointError(f"unet: levels of unequal depth are not supported: {levels}")
    middle_depth = _count(shapes, re.escape(names.middle) + r"\.transformer_blocks\.(\d+)\.")
    if not middle_depth:
        raise CheckpointError(f"unet: {names.middle} has no attention")
    # diffusers takes the middle's depth from the last level, which may have no attention of its own.
    depths = [level.depth or 1 for level in levels]
    if levels[-1].depth not in (0, middle_depth):
        raise CheckpointError("unet: the middle block and the last level have attention of unequal depth")
    depths[-1] = middle_depth
    channels = tuple(level.channels for level in levels)
    config: Config = {
        "in_channels": _shape(shapes, names.first)[1],
        "block_out_channels": channels,
        "down_block_types": tuple("CrossAttnDownBlock2D" if v.depth else "DownBlock2D" for v in levels),
        "layers_per_block": levels[0].resnets,
        "transformer_layers_per_block": tuple(depths),
        "cross_attention_dim": _shape(shapes, f"{names.middle}.transformer_blocks.0.attn2.to_k.weight")[1],
        # diffusers means the number of heads by this name.
        "attention_head_dim": tuple(_heads(width, conventions) for width in channels),
        "use_linear_projection": len(_shape(shapes, f"{names.middle}.proj_in.weight")) == 2,
        "norm_num_groups": conventions.norm_groups,
    }
    if names.told in shapes:
        config["addition_embed_type"] = "text_time"
        config["addition_time_embed_dim"] = 256
        config["projection_class_embeddings_input_dim"] = shapes[names.told][1]
    return config


def vae_config(shapes: Shapes, conventions: Conventions) -> Config:
    """Arguments of `AutoencoderKL` for LDM names below `first_stage_model.`."""
    return _vae_config(
        shapes, conventions, r"encoder\.down\.(\d+)\.block\.", "encoder.down.{}.block.{}.conv2"
    )


def diffusers_vae_config(shapes: Shapes, conventions: Conventions) -> Config:
    """Arguments of `AutoencoderKL` for the names that diffusers itself saves."""
    return _vae_config(
        shapes,
        conventions,
        r"encoder\.down_blocks\.(\d+)\.resnets\.",
        "encoder.down_blocks.{}.resnets.{}.conv2",
    )


def vae_parts(names: Iterable[str]) -> Iterator[str]:
    """Those of an autoencoder; a trainer's notes and losses may lie beside them."""
    return (name for name in names if name.startswith(_VAE_PARTS))


def _vae_config(shapes: Shapes, conventions: Conventions, level: str, block: str) -> Config:
    levels = _count(shapes, level)
    if not levels:
        raise CheckpointError(f"vae: no tensor named {block.format(0, 0)}.*")
    first = re.escape(block).replace(r"\{\}", "0", 1).replace(r"\{\}", r"(\d+)")
    return {
        "in_channels": _shape(shapes, "encoder.conv_in.weight")[1],
        "out_channels": _shape(shapes, "decoder.conv_out.weight")[0],
        "block_out_channels": tuple(_shape(shapes, f"{block.format(i, 0)}.weight")[0] for i in range(levels)),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": _count(shapes, first),
        "latent_channels": _shape(shapes, "decoder.conv_in.weight")[1],
        "norm_num_groups": conventions.norm_groups,
        "scaling_factor": conventions.latent_scale,
    }


def clip_config(shapes: Shapes, conventions: Conventions, *, activation: str = "quick_gelu") -> Config:
    """Arguments of `CLIPTextConfig` for OpenAI's CLIP text model, names below `text_model.`; with the
    activation "gelu" it is OpenCLIP's under these names."""
    vocabulary, width = _shape(shapes, "embeddings.token_embedding.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(shapes, "encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _count(shapes, r"encoder\.layers\.(\d+)\."),
        "num_attention_heads": _divide("text encoder", width, conventions.text_head_width),
        "max_position_embeddings": _shape(shapes, "embeddings.position_embedding.weight")[0],
        "hidden_act": activation,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def open_clip_config(shapes: Shapes, conventions: Conventions) -> Config:
    """Arguments of `CLIPTextConfig` for OpenCLIP's text model (SDXL's second, SD 2's only one)."""
    vocabulary, width = _shape(shapes, "token_embedding.weight")
    projection = shapes.get("text_projection")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(shapes, "transformer.resblocks.0.mlp.c_fc.weight")[0],
        "num_hidden_layers": _count(shapes, r"transformer\.resblocks\.(\d+)\."),
        "num_attention_heads": _divide("OpenCLIP text encoder", width, conventions.text_head_width),
        "max_position_embeddings": _shape(shapes, "positional_embedding")[0],
        "projection_dim": projection[1] if projection else width,
        "hidden_act": "gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": 0,
    }


def _unet_levels(shapes: Shapes) -> list[_Level]:
    """Levels of the way down: resnets in a row share a level, a resampling (`op`) begins the next."""
    levels: list[_Level] = []
    channels, depths = 0, list[int]()
    for i in range(1, _count(shapes, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{i}.0.op.weight" in shapes:
            levels.append(_level(channels, depths))
            depths = []
            continue
        channels = _shape(shapes, f"input_blocks.{i}.0.out_layers.3.weight")[0]
        depths.append(_count(shapes, rf"input_blocks\.{i}\.1\.transformer_blocks\.(\d+)\."))
    levels.append(_level(channels, depths))
    return levels


def _diffusers_levels(shapes: Shapes) -> list[_Level]:
    levels = []
    for i in range(_count(shapes, r"down_blocks\.(\d+)\.")):
        channels = _shape(shapes, f"down_blocks.{i}.resnets.0.conv2.weight")[0]
        resnets = _count(shapes, rf"down_blocks\.{i}\.resnets\.(\d+)\.")
        attention = rf"down_blocks\.{i}\.attentions\.{{}}\.transformer_blocks\.(\d+)\."
        levels.append(_level(channels, [_count(shapes, attention.format(j)) for j in range(resnets)]))
    return levels


def _level(channels: int, depths: list[int]) -> _Level:
    if not depths or len(set(depths)) != 1:
        raise CheckpointError(f"unet: the level of {channels} channels has attention of depths {depths}")
    return _Level(channels, len(depths), depths[0])


def _heads(width: int, conventions: Conventions) -> int:
    if conventions.unet_heads is not None:
        return conventions.unet_heads
    assert conventions.unet_head_width is not None
    return _divide("unet", width, conventions.unet_head_width)


def _divide(part: str, width: int, by: int) -> int:
    if width % by:
        raise CheckpointError(f"{part}: a width of {width} is not a multiple of {by}, the width of a head")
    return width // by


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    try:
        return shapes[name]
    except KeyError:
        raise CheckpointError(f"the tensor {name!r} is missing") from None


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand at the pattern's group."""
    return len({match[1] for name in shapes if (match := re.match(pattern, name))})
