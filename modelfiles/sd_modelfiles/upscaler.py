"""What the tensors of an upscaler tell: which architecture it is.

Only the well-known ones are recognised, each by names that nothing else has. Knows nothing of what an
unrecognised file may be.
"""

import re

from sd_modelfiles.header import Header

# All of these names, in the names of the network itself.
_SIGNATURES = (
    ("ESRGAN", ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight")),
    ("ESRGAN", ("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight")),
    ("ESRGAN", ("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight")),
    # As some converters to safetensors call the same network.
    ("ESRGAN", ("body.0.rdb1.conv1.weight", "body.0.rdb3.conv5.weight")),
    ("HAT", ("conv_first.weight", "layers.0.residual_group.overlap_attn.qkv.weight")),
    ("ATD", ("conv_first.weight", "layers.0.residual_group.layers.0.attn_atd.scale")),
    ("DAT", ("conv_first.weight", "before_RG.1.weight", "layers.0.blocks.0.norm1.weight")),
    ("GRL", ("conv_first.weight", "norm_start.weight", "norm_end.weight")),
    (
        "SwinIR",
        ("layers.0.residual_group.blocks.0.norm1.weight", "layers.0.residual_group.blocks.0.mlp.fc1.bias"),
    ),
    ("SPAN", ("conv_1.sk.weight", "block_1.c1_r.sk.weight")),
    ("Real-CUGAN", ("unet1.conv1.conv.0.weight", "unet2.conv_bottom.weight")),
    ("PLKSR", ("feats.0.weight", "feats.1.refine.weight")),
    ("OmniSR", ("residual_layer.0.residual_layer.0.layer.0.fn.0.weight", "up.0.weight")),
    ("ScuNET", ("m_head.0.weight", "m_tail.0.weight")),
)
# How training frameworks wrap a network.
_WRAPPERS = ("", "module.", "model.", "netG.", "generator.")

_COMPACT = re.compile(r"body\.\d{1,4}\.(?:weight|bias)")


def variant(header: Header) -> str | None:
    """The architecture of the upscaler; None when the file is none that is known."""
    names = header.tensors.keys()
    for wrapper in _WRAPPERS:
        for architecture, needed in _SIGNATURES:
            if all(wrapper + name in names for name in needed):
                return architecture
    return "Compact" if _is_compact(header) else None


def _is_compact(header: Header) -> bool:
    """Real-ESRGAN's small networks: nothing but convolutions and between them slopes without a bias."""
    first, slope = header.tensors.get("body.0.weight"), header.tensors.get("body.1.weight")
    return (
        first is not None
        and slope is not None
        and len(first.shape) == 4
        and slope.shape == first.shape[:1]
        and "body.1.bias" not in header.tensors
        and all(_COMPACT.fullmatch(name) for name in header.tensors)
    )
