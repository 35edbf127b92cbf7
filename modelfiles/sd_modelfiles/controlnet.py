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

#: Kinds of ControlNet that are no network of their own for one kind of map.
UNION, DIFFERENCE = "ControlNet-Union", "difference from its checkpoint"

_PREFIX = "control_model."
#: Of the formats that safetensors files may have, those of weights.
_NUMBERS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
#: Of the layers of a ControlNet, those that have weights alone.
_WITHOUT_BIAS = (".to_q", ".to_k", ".to_v")

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


def peculiarity(header: Header) -> str | None:
    """What sets a ControlNet apart from the plain ones; None for these. A union is told of which kind a map
    is; a difference is to be added to the weights of the checkpoint it is used with."""
    names = header.tensors.keys()
    if any(
        name.removeprefix("control_model.") in ("task_embedding", "control_type_embedding") for name in names
    ):
        return UNION
    return DIFFERENCE if "difference" in names else None


def fault(header: Header) -> str | None:
    """Why a ControlNet can be nobody's, as far as its header shows; None: for nothing that shows. That each
    of its layers is there is not looked into; that a layer is there as a whole is."""
    names = {name for name in header.tensors if name.startswith(_PREFIX)} or set(header.tensors)
    for name in sorted(names):
        kind = header.tensors[name].dtype
        if kind not in _NUMBERS:
            return f"tensor {name!r} has the unsupported dtype {kind}; allowed: {', '.join(_NUMBERS)}"
        other = _counterpart(name)
        if other is not None and other not in names:
            return f"the tensor {other!r} is missing, beside which there is {name!r}"
    return None


def _counterpart(name: str) -> str | None:
    """The other half of a layer."""
    layer, _, half = name.rpartition(".")
    if half == "bias":
        return f"{layer}.weight"
    return f"{layer}.bias" if half == "weight" and not layer.endswith(_WITHOUT_BIAS) else None


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
