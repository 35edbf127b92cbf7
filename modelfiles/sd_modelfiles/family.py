"""The family (SD15, SD21, SDXL, SDXLRefiner) a file was made for, told from its tensors.

What tells is the width of the context that the cross-attentions take, and marks that only one family has.
Small models of a known layout count as that family where the layout tells, because every reader builds them
from the same parts. A type whose tensors are the same in several families shows none. Of checkpoints only
single-file (LDM) ones are known, as A1111 distributes them.
"""

import re
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from sd_modelfiles import controlnet, kinds, lora
from sd_modelfiles.header import Header
from sd_modelfiles.kinds import UNET_PREFIX, ModelType


class Family(StrEnum):
    SD15 = "SD15"
    SD21 = "SD21"
    SDXL = "SDXL"
    #: A network of its own on SDXL's latents, for the last part of a picture.
    SDXL_REFINER = "SDXLRefiner"


#: Families that were trained on the same latents.
_LATENTS = ({Family.SD15, Family.SD21}, {Family.SDXL, Family.SDXL_REFINER})


def share_latents(one: Family, other: Family) -> bool:
    """Whether one can go on with a picture that the other began, without decoding it."""
    return any({one, other} <= each for each in _LATENTS)


class FamilyUnknown(Exception):
    """The file is of no known family; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the tensors show: one of the families, or the words for one that is none of them, or nothing."""

    family: Family | None = None
    other: str | None = None


NOTHING = Shown()

# Published models of a family have exactly this context width.
_CONTEXT_WIDTHS = {Family.SD15: 768, Family.SD21: 1024, Family.SDXL: 2048, Family.SDXL_REFINER: 1280}
_NEWER = Shown(other="a transformer model (Flux, SD 3 or newer)")

# SDXL's refiner has its second text encoder only, at place 0.
_LAYOUTS = (
    (Family.SDXL, "conditioner.embedders.1.model."),
    (Family.SD21, "cond_stage_model.model."),
    (Family.SD15, "cond_stage_model.transformer."),
    (Family.SDXL_REFINER, "conditioner.embedders.0.model."),
)
_LDM_BLOCKS = ("input_blocks", "middle_block", "output_blocks")
_NEWER_UNETS = tuple(
    UNET_PREFIX + part
    for part in ("double_blocks.", "single_blocks.", "joint_blocks.", "transformer_blocks.", "layers.")
)
# kohya joins the path of a module by "_".
_NEWER_LORAS = re.compile(
    r"lora_unet_(?:double|single|joint)_blocks_|lora_te3_|(?:lora_)?transformer[._]"
    r"|(?:(?:model\.)?diffusion_model\.)?(?:double|single|joint)_blocks\."
    r"|(?:model\.)?diffusion_model\.(?:transformer_blocks|layers|blocks)\."
)
# Text encoders are numbered where there are two; kohya uses LDM's names of blocks for SDXL alone; only SDXL
# is told sizes beside the time; an attention of SD 1 and 2 has one block, of SDXL up to ten.
_SDXL_PREFIXES = (
    *("lora_te1_", "lora_te2_", "text_encoder_2."),
    *(f"{kind}_unet_{block}_" for kind in ("lora", "oft", "lllite") for block in _LDM_BLOCKS),
    *("label_emb.", "control_model.label_emb.", "add_embedding."),
)
_DEEP_ATTENTION = re.compile(r"(?:attentions|blocks|block)[._]\d+[._](?:\d+[._])?transformer_blocks[._][1-9]")


def detect(header: Header) -> Family:
    """The family of a checkpoint's file; raises FamilyUnknown."""
    if any(name.startswith(_NEWER_UNETS) for name in header.tensors):
        raise FamilyUnknown(f"the file is {_NEWER.other}")
    width = _checkpoint_width(header)
    if width is None:
        raise FamilyUnknown("the file has no cross-attention under model.diffusion_model.*")
    layout = next((f for f, prefix in _LAYOUTS if any(n.startswith(prefix) for n in header.tensors)), None)
    if layout is None:
        raise FamilyUnknown("the file's text encoder is none of SD15's, SD21's, SDXL's or SDXLRefiner's")
    if layout is Family.SD15 and width == _CONTEXT_WIDTHS[Family.SD21]:
        # Its text encoder with the names of transformers, as a tool that knows no other ones writes it.
        return Family.SD21
    for family, published in _CONTEXT_WIDTHS.items():
        if width == published and family is not layout:
            raise FamilyUnknown(
                f"the text encoder is laid out as {layout}'s, "
                f"the U-Net takes a context {width} wide as {family}'s"
            )
    return layout


def shown(header: Header, model_type: ModelType | None) -> Shown:
    """What the tensors of a file of this type show of its family; nothing is normal."""
    match model_type:
        case ModelType.CHECKPOINT:
            try:
                return Shown(detect(header))
            except FamilyUnknown:
                return NOTHING
        case ModelType.LORA:
            return _of_lora(header)
        case ModelType.CONTROLNET:
            return _of_controlnet(header)
        case ModelType.HYPERNETWORK:
            # For self-attention they may have a pair for each of the network's own widths, 1280 among them.
            return _by_widths(kinds.hypernetwork_widths(header) & {768, 1024, 2048})
        case ModelType.TEXTUAL_INVERSION:
            return _of_embedding(header)
        case ModelType.VAE:
            channels = kinds.vae_latent_channels(header)
            return Shown(other=f"a model with {channels} latent channels") if channels != 4 else NOTHING
        case _:
            return NOTHING


def hinted(header: Header) -> Family | None:
    """The family that the trainer wrote beside the tensors. Merges and renames leave it untrue: a hint."""
    words = (
        header.metadata.get("ss_base_model_version", ""),
        header.metadata.get("modelspec.architecture", ""),
    )
    for text in words:
        if text.startswith(("stable-diffusion-xl-v1-refiner", "stable-diffusion-xl-v0-9-refiner")):
            return Family.SDXL_REFINER
        if text.startswith(("sdxl_", "stable-diffusion-xl-")):
            return Family.SDXL
        if text.startswith(("sd_v2", "stable-diffusion-v2")):
            return Family.SD21
        if text.startswith(("sd_v1", "stable-diffusion-v1")):
            return Family.SD15
    return None


def _checkpoint_width(header: Header) -> int | None:
    for name, tensor in header.tensors.items():
        if name.startswith(UNET_PREFIX) and name.endswith(".attn2.to_k.weight") and len(tensor.shape) == 2:
            return tensor.shape[1]
    return None


def _of_lora(header: Header) -> Shown:
    names = header.tensors.keys()
    if any(map(_NEWER_LORAS.match, names)):
        return _NEWER
    found = _by_widths(lora.context_widths(header))
    if found is not NOTHING:
        return found
    if _has_marks_of_sdxl(header):
        return Shown(Family.SDXL)
    return _by_widths(lora.kohya_text_widths(header) & {768, 1024})


def _of_controlnet(header: Header) -> Shown:
    if controlnet.variant(header) == controlnet.TRANSFORMER:
        return _NEWER
    found = _by_widths(controlnet.context_widths(header))
    if found is not NOTHING:
        return found
    is_sdxl = _has_marks_of_sdxl(header) or controlnet.adapter_downscale(header) == 16
    return Shown(Family.SDXL) if is_sdxl else NOTHING


def _has_marks_of_sdxl(header: Header) -> bool:
    return any(name.startswith(_SDXL_PREFIXES) or _DEEP_ATTENTION.search(name) for name in header.tensors)


def _of_embedding(header: Header) -> Shown:
    if "clip_g" in header.tensors or "text_encoders_1" in header.tensors:
        return Shown(Family.SDXL)
    widths = {tensor.shape[-1] for tensor in header.tensors.values() if tensor.shape}
    return _by_widths(widths & {768, 1024})


def _by_widths(widths: Set[int]) -> Shown:
    """The one family whose context width is among these; nothing when it is none or more than one."""
    found = [family for family, width in _CONTEXT_WIDTHS.items() if width in widths]
    if len(found) == 1:
        return Shown(found[0])
    return NOTHING
