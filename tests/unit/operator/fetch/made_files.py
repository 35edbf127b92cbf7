"""The bytes of model files, small and real enough to be told apart."""

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

CHECKPOINT_SHAPES = {
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (32, 32),
    "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (64, 32),
}


class Made:
    """The bytes of model files: a header with real names, and data that differs from byte to byte."""

    shapes = CHECKPOINT_SHAPES

    def checkpoint(self, *, size: int = 4096, metadata: int = 0) -> bytes:
        return self.safetensors({**CHECKPOINT_SHAPES, "padding": (size,)}, metadata=metadata)

    def safetensors(self, shapes: Mapping[str, tuple[int, ...]], *, metadata: int = 0) -> bytes:
        document: dict[str, Any] = {"__metadata__": {"notes": "x" * metadata}} if metadata else {}
        position = 0
        for name, shape in shapes.items():
            size = 1
            for side in shape:
                size *= side
            document[name] = {"dtype": "U8", "shape": shape, "data_offsets": [position, position + size]}
            position += size
        block = bytes(range(251))  # a prime, so that no chunk begins where another did
        return self.with_header(json.dumps(document).encode(), (block * (position // 251 + 1))[:position])

    def pickle(self, shapes: Mapping[str, tuple[int, ...]] | None = None, *, calls: str = "") -> bytes:
        """A checkpoint as PyTorch saves it; with a call of a global (`os system`) before its tensors."""
        out, storages = [b"\x80\x02"], {}
        if calls:
            out.append(_global(*calls.split()) + _text("touch /tmp/pwned") + b"\x85R0")
        out.append(b"}(")
        for key, (name, shape) in enumerate((shapes or CHECKPOINT_SHAPES).items()):
            count, strides = 1, []
            for side in reversed(shape):
                strides.insert(0, count)
                count *= side
            storages[str(key)] = (bytes(range(251)) * (4 * count // 251 + 1))[: 4 * count]
            storage = b"(" + _text("storage") + _global("torch", "FloatStorage") + _text(str(key))
            storage += _text("cpu") + _number(count) + b"tQ"
            sides = b"".join(b"(" + b"".join(map(_number, each)) + b"t" for each in (shape, strides))
            hooks = b"\x89" + _global("collections", "OrderedDict") + b")R"
            rebuild = _global("torch._utils", "_rebuild_tensor_v2")
            out.append(_text(name) + rebuild + b"(" + storage + _number(0) + sides + hooks + b"tR")
        out.append(b"u.")
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("archive/data.pkl", b"".join(out))
            for key, content in storages.items():
                archive.writestr(f"archive/data/{key}", content)
            archive.writestr("archive/version", b"3\n")
        return whole.getvalue()

    def sha256(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    def with_header(self, raw: bytes, data: bytes = b"") -> bytes:
        return struct.pack("<Q", len(raw)) + raw + data


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()
