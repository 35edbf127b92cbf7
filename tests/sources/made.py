"""Model files made up for the tests: valid where they should be, with random tensors, the same every time.

`python -m tests.sources.made FOLDER` writes those that must be refused.
"""

import hashlib
import json
import pickle
import random
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

MIB = 1024 * 1024
Shapes = Mapping[str, tuple[int, ...]]

_UNET = "model.diffusion_model"
_TEXT = "cond_stage_model.transformer.text_model"
#: Half-precision tensors by which a checkpoint is known as one of Stable Diffusion 1.5.
SD15: Shapes = {
    f"{_UNET}.input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{_UNET}.input_blocks.1.1.transformer_blocks.0.attn1.to_k.weight": (320, 320),
    f"{_UNET}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    f"{_UNET}.out.2.weight": (4, 320, 3, 3),
    "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
    "first_stage_model.decoder.conv_out.weight": (3, 128, 3, 3),
    f"{_TEXT}.embeddings.token_embedding.weight": (1024, 768),
    f"{_TEXT}.encoder.layers.0.self_attn.k_proj.weight": (768, 768),
}
#: One block more, of 7 MiB.
_BLOCK = (640, 640, 3, 3)


def checkpoint(path: Path, *, size: int, seed: int = 1) -> str:
    """A checkpoint of SD15 of about so many bytes; its sha256."""
    shapes = dict(SD15)
    while 2 * sum(map(_count, shapes.values())) < size:
        shapes[f"{_UNET}.output_blocks.{len(shapes)}.0.in_layers.2.weight"] = _BLOCK
    return safetensors(path, shapes, seed=seed)


def safetensors(path: Path, shapes: Shapes, *, seed: int = 1) -> str:
    """A file of half-precision tensors of these shapes; its sha256."""
    header, total = {}, 0
    for name, shape in shapes.items():
        size = 2 * _count(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [total, total + size]}
        total += size
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        return _written(file, [struct.pack("<Q", len(raw)), raw], _data(total, seed))


def _written(file: BinaryIO, head: list[bytes], data: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for parts in (head, data):
        for part in parts:
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _data(size: int, seed: int) -> Iterator[bytes]:
    """Halves between -2 and 2: no infinities, nothing that compresses well."""
    source = random.Random(seed)
    for start in range(0, size, MIB):
        block = bytearray(source.randbytes(min(MIB, size - start)))
        # The high byte of a little-endian half: without its second bit the exponent stays small.
        block[1::2] = block[1::2].translate(_SMALL)
        yield bytes(block)


_SMALL = bytes(byte & 0xBF for byte in range(256))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def huge_header(path: Path) -> None:
    """Claims a header of 1 GB."""
    path.write_bytes(struct.pack("<Q", 1_000_000_000) + b"{" + b" " * MIB)


def overlapping(path: Path) -> None:
    """Two tensors share bytes."""
    names = list(SD15)
    tensors = {
        names[0]: {"dtype": "F16", "shape": [64], "data_offsets": [0, 128]},
        names[1]: {"dtype": "F16", "shape": [64], "data_offsets": [64, 192]},
    }
    raw = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(192))


class _Payload:
    """Runs a command when it is unpickled by a reader that trusts it."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self._command,)


def evil_pickle(path: Path, command: str) -> None:
    """A PyTorch archive whose pickle runs a command before it becomes a state dict."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": _Payload(command)}, protocol=2))
        archive.writestr("archive/version", "3\n")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    huge_header(folder / "huge-header.safetensors")
    overlapping(folder / "overlapping.safetensors")
    evil_pickle(folder / "evil.pt", "touch /tmp/evil-pickle-was-run")


if __name__ == "__main__":
    main()
