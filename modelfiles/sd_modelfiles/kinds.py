"""The type of a model file, told from the names of its tensors.

A type is what A1111 would do with the file. A file whose type is not known gives None; the caller decides
what that means. Knows nothing of families (family.py) nor folders (place.py).
"""

from enum import StrEnum

from sd_modelfiles.header import Header


class ModelType(StrEnum):
    CHECKPOINT = "Checkpoint"
    VAE = "VAE"
    LORA = "LoRA"
    TEXTUAL_INVERSION = "TextualInversion"
    CONTROLNET = "ControlNet"


UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIXES = ("cond_stage_model.", "conditioner.embedders.")

_LORA_PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
_CONTROLNET_PREFIXES = ("control_model.", "controlnet_cond_embedding.", "input_hint_block.")
_EMBEDDING_NAMES = {"emb_params", "clip_l", "clip_g"}


def recognise(header: Header) -> ModelType | None:
    """The type of the file, or None when the names of its tensors match no known type."""
    names = header.tensors.keys()
    if any(name.startswith(UNET_PREFIX) for name in names):
        return ModelType.CHECKPOINT
    if any(name.startswith(_LORA_PREFIXES) or ".lora_A." in name or ".lora_down." in name for name in names):
        return ModelType.LORA
    if any(name.startswith(_CONTROLNET_PREFIXES) for name in names):
        return ModelType.CONTROLNET
    if names and names <= _EMBEDDING_NAMES:
        return ModelType.TEXTUAL_INVERSION
    parts = tuple(name.removeprefix(VAE_PREFIX) for name in names)
    if any(part.startswith("encoder.") for part in parts) and any(
        part.startswith("decoder.") for part in parts
    ):
        return ModelType.VAE
    return None


def missing_parts(header: Header) -> tuple[str, ...]:
    """The parts that a single-file checkpoint must hold and this one lacks, in words."""
    needed = (
        ("the U-Net (model.diffusion_model.*)", (UNET_PREFIX,)),
        ("the autoencoder (first_stage_model.*)", (VAE_PREFIX,)),
        ("the text encoder (cond_stage_model.* or conditioner.embedders.*)", TEXT_PREFIXES),
    )
    return tuple(
        words for words, prefixes in needed if not any(name.startswith(prefixes) for name in header.tensors)
    )
