"""Files that pass for checkpoints as far as their headers go; their tensors mean nothing."""

import json

#: Just large enough for A1111's old hash, which is of bytes behind the first mebibyte.
SIZE = 0x110000
_SHAPES = {
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [2, 768],
    "first_stage_model.quant_conv.weight": [8, 8, 1, 1],
}
_HEADER_BYTES = 1024


def checkpoint_bytes(fill: bytes) -> bytes:
    """An SD 1.5 checkpoint of `SIZE` bytes that is full of this byte."""
    header: dict[str, object] = {}
    end = 0
    data = SIZE - 8 - _HEADER_BYTES
    rest = data - sum(_size(shape) for shape in _SHAPES.values())
    for name, shape in {**_SHAPES, "cond_stage_model.transformer.text_model.rest": [rest]}.items():
        begin, end = end, end + _size(shape)
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode().ljust(_HEADER_BYTES)
    return _HEADER_BYTES.to_bytes(8, "little") + text + fill * data


def _size(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
