"""Safetensors files of a few hundred bytes, with the tensor names of real ones; pickles written by opcode."""

import io
import json
import pickle as pickling
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sd_modelfiles import header

# Makes tensor_names.py importable.
sys.path.append(str(Path(__file__).parent))

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


class Opcodes:
    """Writes a pickle from its parts, each of which is opcodes that leave one value on the stack."""

    def __call__(self, value: bytes) -> bytes:
        return b"\x80\x02" + value + b"."

    def text(self, value: str) -> bytes:
        raw = value.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw

    def number(self, value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def row(self, *values: bytes) -> bytes:
        return b"(" + b"".join(values) + b"t"

    def pairs(self, *pairs: tuple[bytes, bytes]) -> bytes:
        return b"}(" + b"".join(key + value for key, value in pairs) + b"u"

    def mapping(self, **values: bytes) -> bytes:
        return self.pairs(*((self.text(key), value) for key, value in values.items()))

    def symbol(self, module: str, name: str) -> bytes:
        return f"c{module}\n{name}\n".encode()

    def call(self, module: str, name: str, *arguments: bytes) -> bytes:
        return self.symbol(module, name) + self.row(*arguments) + b"R"

    def instance(self, module: str, name: str, state: bytes) -> bytes:
        return self.symbol(module, name) + b")\x81" + state + b"b"

    def storage(
        self,
        key: str,
        count: int,
        *,
        module: str = "torch",
        kind: str = "FloatStorage",
        view: object = None,
    ) -> bytes:
        parts = [
            self.text("storage"),
            self.symbol(module, kind),
            self.text(key),
            self.text("cpu"),
            self.number(count),
        ]
        if view is not None:
            parts.append(pickling.dumps(view, 2)[2:-1])
        return self.row(*parts) + b"Q"

    def tensor(
        self,
        key: str,
        *shape: int,
        stored: int | None = None,
        offset: int = 0,
        strides: tuple[int, ...] | None = None,
        view: object = None,
    ) -> bytes:
        count = 1
        natural: list[int] = []
        for side in reversed(shape):
            natural.insert(0, count)
            count *= side
        return self.call(
            "torch._utils",
            "_rebuild_tensor_v2",
            self.storage(key, count if stored is None else stored, view=view),
            self.number(offset),
            self.row(*map(self.number, shape)),
            self.row(*map(self.number, strides if strides is not None else natural)),
            b"\x89",
            self.call("collections", "OrderedDict"),
        )


def zipped(
    pickle: bytes,
    storages: Mapping[str, bytes],
    *,
    name: str = "archive",
    more: Mapping[str, bytes] | None = None,
) -> bytes:
    """An archive as `torch.save` writes it, without its padding."""
    made = io.BytesIO()
    members = {"data.pkl": pickle, **{f"data/{key}": data for key, data in storages.items()}, **(more or {})}
    with zipfile.ZipFile(made, "w") as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}/{member}"), data)
    return made.getvalue()


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


@pytest.fixture
def pickle() -> Opcodes:
    return Opcodes()


@pytest.fixture
def archive() -> Callable[..., bytes]:
    return zipped


@pytest.fixture
def read(write, make):
    """The header of a file with such tensors."""
    return lambda shapes, metadata=None: header.read(write(make(shapes, metadata)))
