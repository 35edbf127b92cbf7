"""Safetensors files of a few hundred bytes, with the tensor names of real ones."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Shapes = Mapping[str, tuple[int, ...]]


def encode(document: object, data: bytes = b"") -> bytes:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def safetensors(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> bytes:
    document: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        document[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    return encode(document, bytes(position))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def make() -> Callable[..., bytes]:
    return safetensors


@pytest.fixture
def raw() -> Callable[..., bytes]:
    return encode
