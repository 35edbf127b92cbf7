"""What a LoRA's tensors tell: which kind of low-rank change it is, its rank, and the width it was made for.

Three ways of naming are met: kohya's and LyCORIS' (`lora_unet_…`, module paths joined by "_"), those of
diffusers and peft (`unet.….lora_A.weight`), and older ones of diffusers (`….to_k_lora.down.weight`).
Knows nothing of families.
"""

import re

from sd_modelfiles.header import Header, TensorInfo

_PREFIX = re.compile(r"(?:lora|lycoris|oft)_(?:unet|te[123]?|transformer)_")
# The parts that a changed module is stored as, by the kind of the change. In this order: a DoRA is a LoRA,
# LoHa or LoKr with a magnitude.
_PARTS = (
    ("DoRA", ("dora_scale", "lora_magnitude_vector")),
    ("LoHa", ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")),
    ("LoKr", ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")),
    ("OFT", ("oft_blocks", "oft_diag", "oft_R")),
    ("LoRA", ("lora_down", "lora_up", "lora_A", "lora_B", "lora_linear_layer", "lora")),
)
_MARKS = frozenset(mark for _, marks in _PARTS for mark in marks)
# These words are common; they mean something only below one of kohya's prefixes.
_PREFIXED_PARTS = (
    ("GLoRA", ("a1", "a2", "b1", "b2")),
    ("IA3", ("on_input",)),
    ("full", ("diff", "diff_b", "w_norm", "b_norm")),
)

_CROSS_ATTENTION = re.compile(r"attn2(?:\.processor)?[._]to_[kv](?:_lora)?\.(.+)")
_KOHYA_TEXT = re.compile(r"lora_te_text_model_encoder_layers_\d+_(?:self_attn_[kqv]_proj|mlp_fc1)\.(.+)")
# What is multiplied with the module's input: its second side is as wide as that.
_DOWN = re.compile(
    r"(?:lora_down|lora_A(?:\.\w+)?|lora\.down|lora_linear_layer\.down|down)\.weight|hada_w1_b|diff"
)
_RANKED = re.compile(
    r"(?:\.lora_down|\.lora_A(?:\.\w+)?|[._]lora\.down|\.lora_linear_layer\.down)\.weight$"
    r"|\.(?:hada_w1_b|lokr_w1_b|lokr_w2_b)$"
)
_GLORA = re.compile(r"a1\.weight")


def is_change(name: str) -> bool:
    """Whether a tensor is a part of a low-rank change, by a name that has none of kohya's prefixes."""
    pieces = name.split(".")
    return pieces[-1] == "alpha" or not _MARKS.isdisjoint(_unprefixed(pieces))


def variant(header: Header) -> str | None:
    """The kind of low-rank change the file holds; None when it is no LoRA."""
    parts: set[str] = set()
    prefixed = False
    for name in header.tensors:
        here = _PREFIX.match(name) is not None
        prefixed |= here
        pieces = name.split(".")
        parts.update(pieces[1:] if here else _unprefixed(pieces))
    for kind, marks in _PARTS:
        if not parts.isdisjoint(marks):
            return kind
    if not prefixed:
        return None
    return next((kind for kind, marks in _PREFIXED_PARTS if not parts.isdisjoint(marks)), "LoRA")


def rank(header: Header) -> int | None:
    """The rank of the file; the largest where modules have different ones."""
    found = 0
    for name, tensor in header.tensors.items():
        if len(tensor.shape) < 2:
            continue
        if _RANKED.search(name):
            found = max(found, tensor.shape[0])
        elif name.endswith(".a1.weight") and _PREFIX.match(name):
            found = max(found, min(tensor.shape))
    return found or None


def context_widths(header: Header) -> set[int]:
    """The widths of what the changed cross-attentions attend to, as far as the tensors tell."""
    widths = {_input_width(found[1], tensor) for found, tensor in _matching(_CROSS_ATTENTION, header)}
    return {width for width in widths | _kronecker_widths(header) if width is not None}


def kohya_text_widths(header: Header) -> set[int]:
    """The widths of a text encoder that kohya names as the only one."""
    widths = {_input_width(found[1], tensor) for found, tensor in _matching(_KOHYA_TEXT, header)}
    return {width for width in widths if width is not None}


def _matching(pattern: re.Pattern[str], header: Header) -> list[tuple[re.Match[str], TensorInfo]]:
    found = ((pattern.search(name), tensor) for name, tensor in header.tensors.items())
    return [(match, tensor) for match, tensor in found if match is not None]


def _unprefixed(pieces: list[str]) -> list[str]:
    # "to_k_lora" of older diffusers.
    return ["lora" if piece.endswith("_lora") and piece.startswith("to_") else piece for piece in pieces]


def _input_width(part: str, tensor: TensorInfo) -> int | None:
    if len(tensor.shape) < 2:
        return None
    if _DOWN.fullmatch(part):
        return tensor.shape[1]
    if _GLORA.fullmatch(part):
        return max(tensor.shape)
    return None


def _kronecker_widths(header: Header) -> set[int]:
    """A LoKr's change is the product of two small matrices, and so is its width."""
    sides: dict[str, dict[str, int]] = {}
    for found, tensor in _matching(_CROSS_ATTENTION, header):
        part = found[1].removesuffix("_b")
        if part in ("lokr_w1", "lokr_w2") and len(tensor.shape) >= 2:
            sides.setdefault(found.string[: found.start(1)], {})[part] = tensor.shape[1]
    return {side["lokr_w1"] * side["lokr_w2"] for side in sides.values() if len(side) == 2}
