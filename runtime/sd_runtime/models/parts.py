"""The networks of a checkpoint, part by part: built without memory, then given the file's converted tensors.

Each function takes its part's tensors out of `weights`, so that nothing stays twice. The conversion of names
is diffusers'; that every tensor was understood and none is missing is checked here.
"""

from collections.abc import Callable
from typing import Any

import torch

from sd_runtime.errors import CheckpointError
from sd_runtime.models import libraries
from sd_runtime.models.layout import Config

Weights = dict[str, torch.Tensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
# Saved by old trainers as if it were a weight: 0, 1, 2, ...
POSITION_IDS = "embeddings.position_ids"
# Scales similarities in CLIP's training; no part of the text model.
LOGIT_SCALE = "logit_scale"
# Of these the converter makes new tensors (split or transposed) instead of passing them on.
OPEN_CLIP_COPIED = ("attn.in_proj_weight", "attn.in_proj_bias", "text_projection")


def build_unet(config: Config, weights: Weights) -> Any:
    """`UNet2DConditionModel` from LDM names."""
    part = _take(UNET, weights)
    converted = libraries.convert_unet(part, config)
    _refuse_strangers("unet", part, converted)
    return _assemble("unet", lambda: libraries.UNet(**config), converted)


def build_vae(config: Config, weights: Weights) -> Any:
    """`AutoencoderKL` from LDM names."""
    part = _take(VAE, weights)
    converted = libraries.convert_vae(part, config)
    _refuse_strangers("vae", part, converted)
    return _assemble("vae", lambda: libraries.AutoencoderKL(**config), converted)


def build_clip(prefix: str, config: Config, weights: Weights) -> Any:
    """`CLIPTextModel`, whose names differ from the file's in nothing but the prefix."""
    converted = {name.removeprefix(prefix): value for name, value in _take(prefix, weights).items()}
    network = _assemble("text encoder", lambda: libraries.ClipText(libraries.ClipConfig(**config)), converted)
    _fill_position_ids(network)
    return network


def build_open_clip(prefix: str, config: Config, weights: Weights) -> Any:
    """`CLIPTextModelWithProjection` from OpenCLIP names."""
    part = _take(prefix, weights)

    def build() -> Any:
        return libraries.ClipTextWithProjection(libraries.ClipConfig(**config))

    with torch.device("meta"):
        converted = libraries.convert_open_clip(build(), part, prefix=prefix)
    _refuse_strangers("second text encoder", part, converted, copied=OPEN_CLIP_COPIED)
    network = _assemble("second text encoder", build, converted)
    _fill_position_ids(network.text_model)
    return network


def _refuse_strangers(
    part: str, weights: Weights, converted: Weights, *, copied: tuple[str, ...] = ()
) -> None:
    """The converters pass over names they do not know; such a tensor's memory does not come out of them."""
    used = {value.data_ptr() for value in converted.values()}
    strangers = [
        name for name, value in weights.items() if value.data_ptr() not in used and not name.endswith(copied)
    ]
    if strangers:
        raise CheckpointError(f"{part}: unexpected tensors: {_some(strangers)}")


def _assemble(part: str, build: Callable[[], Any], converted: Weights) -> Any:
    with torch.device("meta"):
        network = build()
    try:
        missing, unexpected = network.load_state_dict(converted, strict=False, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{part}: tensors of a wrong shape: {str(error)[:500]}") from error
    if missing:
        raise CheckpointError(f"{part}: missing tensors (by their diffusers names): {_some(missing)}")
    if unexpected:
        raise CheckpointError(f"{part}: unexpected tensors (by their diffusers names): {_some(unexpected)}")
    return network.eval().requires_grad_(False)


def _fill_position_ids(text_model: Any) -> None:
    """The one buffer that is in no file and so still has no memory."""
    count = text_model.config.max_position_embeddings
    device = text_model.final_layer_norm.weight.device
    text_model.embeddings.position_ids = torch.arange(count, device=device)[None]


def _take(prefix: str, weights: Weights) -> Weights:
    return {name: weights.pop(name) for name in list(weights) if name.startswith(prefix)}


def _some(names: list[str], limit: int = 5) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + rest
