"""The networks of a checkpoint, part by part: built without memory, then given the file's converted tensors.

Each function takes its part's tensors out of `weights`, so that nothing stays twice. The conversion of names
is diffusers'; that every tensor was understood and none is missing is checked here.
"""

import re
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
# In CLIPTextModelWithProjection, and in files, around what CLIPTextModel is.
TEXT_MODEL = "text_model."
# What the attention of an autoencoder was called before diffusers 0.14; most published files still have it.
_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION = re.compile(r"(mid_block\.attentions\.0\.)(query|key|value|proj_attn)\.")
# Of these the converter makes new tensors (split or transposed) instead of passing them on.
OPEN_CLIP_COPIED = ("attn.in_proj_weight", "attn.in_proj_bias", "text_projection")

# What SDXL is told beside the time; the converter of ControlNets leaves it out.
_TOLD = {
    f"label_emb.0.{place}.{kind}": f"add_embedding.linear_{number}.{kind}"
    for place, number in ((0, 1), (2, 2))
    for kind in ("weight", "bias")
}


def build_unet(config: Config, weights: Weights, *, prefix: str = UNET, convert: bool = True) -> Any:
    """`UNet2DConditionModel` from LDM names, or with `convert=False` from its own."""
    part = _take(prefix, weights)
    if convert:
        converted = libraries.convert_unet(part, config)
        _refuse_strangers("unet", part, converted)
    else:
        converted = _without_prefix(prefix, part)
    return _assemble("unet", lambda: libraries.UNet.from_config(config), converted)


def build_controlnet(config: Config, weights: Weights, *, prefix: str, convert: bool) -> Any:
    """`ControlNetModel` from LDM names, or with `convert=False` from its own."""
    part = _without_prefix(prefix, _take(prefix, weights))
    converted = part
    if convert:
        # It asks for names that need not be there.
        found = libraries.convert_controlnet(part, config)
        converted = {name: value for name, value in found.items() if value is not None} | {
            new: part[old] for old, new in _TOLD.items() if old in part
        }
        _refuse_strangers("controlnet", part, converted)
    return _assemble("controlnet", lambda: libraries.ControlNet.from_config(config), converted)


def build_vae(config: Config, weights: Weights, *, prefix: str = VAE, convert: bool = True) -> Any:
    """`AutoencoderKL` from LDM names, or with `convert=False` from its own."""
    part = _take(prefix, weights)
    if convert:
        converted = libraries.convert_vae(part, config)
        _refuse_strangers("vae", part, converted)
    else:
        own = _without_prefix(prefix, part)
        converted = {_OLD_ATTENTION.sub(_new_attention, name): value for name, value in own.items()}
    return _assemble("vae", lambda: libraries.AutoencoderKL.from_config(config), converted)


def build_clip(prefix: str, config: Config, weights: Weights) -> Any:
    """`CLIPTextModel`, whose names differ from the file's in nothing but the prefix."""
    converted = {
        name.removeprefix(TEXT_MODEL): value
        for name, value in _without_prefix(prefix, _take(prefix, weights)).items()
    }
    network = _assemble("text encoder", lambda: libraries.ClipText(_clip_config(config)), converted)
    _fill_position_ids(network)
    return network


def build_clip_with_projection(prefix: str, config: Config, weights: Weights) -> Any:
    """`CLIPTextModelWithProjection` from its own names."""
    converted = _without_prefix(prefix, _take(prefix, weights))
    network = _assemble(
        "second text encoder", lambda: libraries.ClipTextWithProjection(_clip_config(config)), converted
    )
    _fill_position_ids(network.text_model)
    return network


def build_open_clip(prefix: str, config: Config, weights: Weights) -> Any:
    """`CLIPTextModelWithProjection` from OpenCLIP names."""
    part = _take(prefix, weights)

    def build() -> Any:
        return libraries.ClipTextWithProjection(_clip_config(config))

    converted = _from_open_clip("second text encoder", build, _without_prefix(prefix, part))
    network = _assemble("second text encoder", build, converted)
    _fill_position_ids(network.text_model)
    return network


def build_open_clip_states(prefix: str, config: Config, weights: Weights) -> Any:
    """`CLIPTextModel` from OpenCLIP names, for the states alone, which need no projection."""
    part = _take(prefix, weights)

    def build() -> Any:
        return libraries.ClipText(_clip_config(config))

    converted = _from_open_clip("text encoder", build, _without_prefix(prefix, part))
    flat = {name.removeprefix(TEXT_MODEL): value for name, value in converted.items()}
    network = _assemble("text encoder", build, flat)
    _fill_position_ids(network)
    return network


def _from_open_clip(name: str, build: Callable[[], Any], part: Weights) -> Weights:
    with torch.device("meta"):
        # Without a prefix: below SD 2's the converter leaves out what it takes for the last layer.
        converted: Weights = libraries.convert_open_clip(build(), part, prefix="")
    _refuse_strangers(name, part, converted, copied=OPEN_CLIP_COPIED)
    return converted


def _clip_config(config: Config) -> Any:
    return libraries.ClipConfig.from_dict(config)


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
        try:
            network = build()
        # Of a stranger's config.json; which error each wrong value gives is nobody's promise.
        except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AttributeError) as error:
            raise CheckpointError(f"{part}: cannot be built from its configuration: {error}") from error
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


def _without_prefix(prefix: str, weights: Weights) -> Weights:
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def _new_attention(found: re.Match[str]) -> str:
    return f"{found[1]}{_ATTENTION_NAMES[found[2]]}."


def _take(prefix: str, weights: Weights) -> Weights:
    return {name: weights.pop(name) for name in list(weights) if name.startswith(prefix)}


def _some(names: list[str], limit: int = 5) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + rest
