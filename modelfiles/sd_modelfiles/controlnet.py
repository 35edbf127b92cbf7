"""What the tensors of a ControlNet tell, and of the other networks that its A1111 extension takes.

Knows nothing of families.
"""

import re

from sd_modelfiles.header import Header

CONTROLNET, CONTROL_LORA, LLLITE, T2I_ADAPTER, IP_ADAPTER, TRANSFORMER = (
    "ControlNet",
    "Control-LoRA",
    "ControlNet-LLLite",
    "T2I-Adapter",
    "IP-Adapter",
    "of a transformer",
)

_T2I = re.compile(r"(?:adapter\.)?body\.\d+\.(?:(?:resnets|body)\.\d+\.)?block1\.weight")
_KEYS = re.compile(r"\.attn2\.to_k\.(?:weight|down)|\.to_k_ip\.weight")
_RANKED = re.compile(r"\.to_k\.down")


def variant(header: Header) -> str | None:
    """Which kind of control the file is; None when it is none."""
    names = header.tensors.keys()
    if "lora_controlnet" in names:
        return CONTROL_LORA
    found = None
    for name in names:
        # LDM's; the same cut out of its checkpoint; diffusers'.
        if name.startswith(("control_model.", "input_hint_block.", "controlnet_cond_embedding.")):
            return CONTROLNET
        if name.startswith(("controlnet_x_embedder.", "controlnet_blocks.")):
            found = TRANSFORMER
        elif name.startswith("lllite_unet_"):
            found = LLLITE
        elif name.startswith("ip_adapter."):
            found = IP_ADAPTER
        elif _T2I.fullmatch(name) or name == "style_embedding":
            found = T2I_ADAPTER
    return found


def rank(header: Header) -> int | None:
    """The rank of a Control-LoRA."""
    ranks = (tensor.shape for name, tensor in header.tensors.items() if _RANKED.search(name))
    return max((shape[0] for shape in ranks if len(shape) >= 2), default=None)


def context_widths(header: Header) -> set[int]:
    """The widths of what its cross-attentions attend to."""
    return {
        tensor.shape[1]
        for name, tensor in header.tensors.items()
        if len(tensor.shape) == 2 and _KEYS.search(name)
    }


def adapter_downscale(header: Header) -> int | None:
    """How much smaller than the picture a T2I-Adapter works: its first convolution takes that many pixels in
    each channel; 8 for SD 1 and 2, 16 for SDXL."""
    for name in ("conv_in.weight", "adapter.conv_in.weight"):
        tensor = header.tensors.get(name)
        if tensor is not None and len(tensor.shape) == 4:
            return {64: 8, 192: 8, 256: 16, 768: 16}.get(tensor.shape[1])
    return None
