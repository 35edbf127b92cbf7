"""The family of a checkpoint (SD15, SD21, SDXL), told from the layout and the width of its own tensors.

The layout of the text encoders says which family a file was made for; the width of the cross-attention's
context must not contradict it. Small models of a known layout count as that family, because every reader
builds them from the same parts. Reads single-file (LDM) names only, as A1111 distributes checkpoints.
"""

from enum import StrEnum

from sd_modelfiles.header import Header
from sd_modelfiles.kinds import UNET_PREFIX


class Family(StrEnum):
    SD15 = "SD15"
    SD21 = "SD21"
    SDXL = "SDXL"


class FamilyUnknown(Exception):
    """The file is of no known family; the message says what was seen."""


# Published checkpoints of a family have exactly this context width.
_CONTEXT_WIDTHS = {Family.SD15: 768, Family.SD21: 1024, Family.SDXL: 2048}

# In this order: an SDXL file may carry no second mark, and its refiner has only the OpenCLIP encoder, at
# place 0.
_LAYOUTS = (
    (Family.SDXL, "conditioner.embedders.1.model."),
    (Family.SD21, "cond_stage_model.model."),
    (Family.SD15, "cond_stage_model.transformer."),
)


def detect(header: Header) -> Family:
    """The family of a checkpoint's file; raises FamilyUnknown."""
    width = _context_width(header)
    if width is None:
        raise FamilyUnknown("the file has no cross-attention under model.diffusion_model.*")
    layout = next((f for f, prefix in _LAYOUTS if any(n.startswith(prefix) for n in header.tensors)), None)
    if layout is None:
        if any(name.startswith("conditioner.embedders.0.model.") for name in header.tensors):
            raise FamilyUnknown("the file is an SDXL refiner; a base checkpoint is needed")
        raise FamilyUnknown("the file's text encoder is none of SD15's, SD21's or SDXL's")
    for family, published in _CONTEXT_WIDTHS.items():
        if width == published and family is not layout:
            raise FamilyUnknown(
                f"the text encoder is laid out as {layout}'s, "
                f"the U-Net takes a context {width} wide as {family}'s"
            )
    return layout


def _context_width(header: Header) -> int | None:
    for name, tensor in header.tensors.items():
        if name.startswith(UNET_PREFIX) and name.endswith(".attn2.to_k.weight") and len(tensor.shape) == 2:
            return tensor.shape[1]
    return None
