"""The smallest files that are what they say: a header that shows a type of model, and next to no weights."""

import json
import struct
from collections.abc import Mapping, Sequence

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType

#: Tensors by which each type is recognised; an upscaler has no layout of its own.
SHAPES: Mapping[ModelType, Mapping[str, Sequence[int]]] = {
    ModelType.CHECKPOINT: {
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [1, 768],
        "first_stage_model.encoder.conv_in.weight": [1, 3, 1, 1],
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": [1],
    },
    ModelType.LORA: {
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": [1, 1],
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": [1, 1],
    },
    ModelType.VAE: {"encoder.conv_in.weight": [1, 3, 1, 1], "decoder.conv_in.weight": [1, 4, 1, 1]},
    ModelType.TEXTUAL_INVERSION: {"emb_params": [1, 768]},
    ModelType.UPSCALER: {"conv_first.weight": [1, 3, 1, 1]},
}


#: Tensors by which the family of a checkpoint is recognised, beside its autoencoder's.
_CROSS_ATTENTION = "model.diffusion_model.input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight"
FAMILIES: Mapping[Family, Mapping[str, Sequence[int]]] = {
    Family.SD15: {
        _CROSS_ATTENTION.format(1): [1, 768],
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": [1],
    },
    Family.SD21: {
        _CROSS_ATTENTION.format(1): [1, 1024],
        "cond_stage_model.model.ln_final.weight": [1],
    },
    Family.SDXL: {
        _CROSS_ATTENTION.format(4): [1, 2048],
        "conditioner.embedders.1.model.ln_final.weight": [1],
    },
    Family.SDXL_REFINER: {
        _CROSS_ATTENTION.format(4): [1, 1280],
        "conditioner.embedders.0.model.ln_final.weight": [1],
    },
}


def checkpoint(family: Family) -> bytes:
    """A safetensors checkpoint of this family."""
    return safetensors({**FAMILIES[family], "first_stage_model.encoder.conv_in.weight": [1, 3, 1, 1]})


def controlnet(family: Family) -> bytes:
    """A safetensors ControlNet for this family, in LDM's layout."""
    width = {Family.SD15: 768, Family.SD21: 1024, Family.SDXL: 2048}[family]
    return safetensors({"control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [1, width]})


def of(model_type: ModelType, metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of this type."""
    return safetensors(SHAPES[model_type], metadata)


def safetensors(shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str] | None = None) -> bytes:
    """A file of float32 zeros in these shapes."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        begin, count = end, 4
        for side in shape:
            count *= side
        end = begin + count
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)
