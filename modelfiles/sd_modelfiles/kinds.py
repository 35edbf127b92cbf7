"""The type of a model file, told from the names and shapes of its tensors.

A type is what A1111 and its extensions would do with the file. A file whose type is not known gives None;
the caller decides what that means. Annotators have no layout in common and are never recognised. Knows
nothing of families (family.py) nor folders (place.py).
"""

import re
from enum import StrEnum

from sd_modelfiles import controlnet, lora, upscaler
from sd_modelfiles.header import Header


class ModelType(StrEnum):
    CHECKPOINT = "Checkpoint"
    VAE = "VAE"
    LORA = "LoRA"
    TEXTUAL_INVERSION = "TextualInversion"
    HYPERNETWORK = "Hypernetwork"
    CONTROLNET = "ControlNet"
    UPSCALER = "Upscaler"
    ANNOTATOR = "Annotator"


UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIXES = ("cond_stage_model.", "conditioner.embedders.")

# A1111's; Stability's and others' for SDXL; those of diffusers' trainers.
_EMBEDDING_NAMES = {"emb_params", "clip_l", "clip_g", "text_encoders_0", "text_encoders_1"}
# What a word is to the text encoders of SD 1, SD 2 and SDXL.
_WORD_WIDTHS = (768, 1024, 1280)
_MOST_WORDS = 1024

# A1111 keeps a pair of networks (for keys, for values) for each width; converted, the names are joined.
_HYPERNETWORK = re.compile(r"\d{1,6}\.[01]\.linear(?:\d|\.\d{1,3})\.(?:weight|bias)")


def recognise(header: Header) -> ModelType | None:
    """The type of the file, or None when its tensors match no known type."""
    names = header.tensors.keys()
    # Before checkpoints: the first ControlNets came with the whole checkpoint they belong to.
    if controlnet.variant(header) is not None:
        return ModelType.CONTROLNET
    # A LoRA may call the modules that it changes as a checkpoint does; it has none of their own weights.
    if any(name.startswith(UNET_PREFIX) and not lora.is_change(name) for name in names):
        return ModelType.CHECKPOINT
    if lora.variant(header) is not None:
        return ModelType.LORA
    if any(_HYPERNETWORK.fullmatch(name) for name in names):
        return ModelType.HYPERNETWORK
    if _is_embedding(header):
        return ModelType.TEXTUAL_INVERSION
    if vae_latent_channels(header) is not None:
        return ModelType.VAE
    if upscaler.variant(header) is not None:
        return ModelType.UPSCALER
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


def vae_latent_channels(header: Header) -> int | None:
    """How many channels a picture has in the latent space of this autoencoder; None when it is none.

    The names are the same in LDM's and in diffusers' files. Many networks have an encoder and a decoder;
    those of pictures to latents are told by the convolutions they begin with.
    """
    prefix = VAE_PREFIX if f"{VAE_PREFIX}decoder.conv_in.weight" in header.tensors else ""
    encoder = header.tensors.get(f"{prefix}encoder.conv_in.weight")
    decoder = header.tensors.get(f"{prefix}decoder.conv_in.weight")
    if encoder is None or decoder is None or len(decoder.shape) < 2:
        return None
    return decoder.shape[1]


def hypernetwork_widths(header: Header) -> set[int]:
    """The widths of context for which a hypernetwork has a pair of networks."""
    matching = (name for name in header.tensors if _HYPERNETWORK.fullmatch(name))
    return {int(name.partition(".")[0]) for name in matching}


def _is_embedding(header: Header) -> bool:
    names = header.tensors.keys()
    if names and names <= _EMBEDDING_NAMES:
        return True
    # Those of diffusers have one tensor named as the word they teach.
    if len(names) != 1:
        return False
    (tensor,) = header.tensors.values()
    rows = tensor.shape[0] if len(tensor.shape) == 2 else 1
    return len(tensor.shape) in (1, 2) and tensor.shape[-1] in _WORD_WIDTHS and 0 < rows <= _MOST_WORDS
