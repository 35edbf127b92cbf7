"""The safetensors header: read, and checked so that every tensor it names lies inside the file.

The header comes from a stranger, so it is bounded before it is parsed and every number in it is checked
before it is believed. The format demands that tensors fill the data exactly (no gap, no overlap); that also
gives the size the whole file must have, which is how a cut file is told from a whole one. Knows nothing of
what the tensors mean.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LENGTH_BYTES = 8
# The limit of the safetensors library itself; a larger header is refused by every reader.
MAX_HEADER_BYTES = 100 * 1024 * 1024

_BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


class HeaderError(Exception):
    """The bytes are not a safetensors header, or it contradicts itself or the file."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    dtype: str
    shape: tuple[int, ...]
    begin: int  # offsets into the data that follows the header
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int  # where in the file the data begins
    file_size: int  # the size the header promises for the whole file


def read(path: Path, *, limit: int = MAX_HEADER_BYTES) -> Header:
    """Read and check the header of a whole file; the size of the file must be the one the header promises."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        prefix = file.read(LENGTH_BYTES)
        length = header_length(prefix, limit=limit)
        if LENGTH_BYTES + length > size:
            raise HeaderError(f"the header claims {length} bytes, the file has only {size}")
        header = parse(file.read(length))
    if header.file_size != size:
        raise HeaderError(f"the header promises a file of {header.file_size} bytes, this one has {size}")
    return header


def header_length(prefix: bytes, *, limit: int = MAX_HEADER_BYTES) -> int:
    """The length of the header that follows the first eight bytes of a file."""
    if len(prefix) < LENGTH_BYTES:
        raise HeaderError(
            f"the file ends after {len(prefix)} bytes; a safetensors file has at least {LENGTH_BYTES}"
        )
    length: int = struct.unpack_from("<Q", prefix)[0]
    if length < 2:
        raise HeaderError(f"the header claims {length} bytes; at least 2 are needed")
    if length > limit:
        raise HeaderError(f"the header claims {length} bytes; at most {limit} are allowed")
    return length


def parse(raw: bytes) -> Header:
    """Parse the JSON between the length and the data, and check it against itself."""
    document = _document(raw)
    metadata = _metadata(document.pop("__metadata__", {}))
    tensors = {name: _tensor(name, value) for name, value in document.items()}
    data_start = LENGTH_BYTES + len(raw)
    return Header(tensors, metadata, data_start, data_start + _data_size(tensors))


def _document(raw: bytes) -> dict[str, object]:
    if not raw.startswith(b"{"):
        raise HeaderError("the header does not begin with '{'")
    try:
        document = json.loads(raw, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    # A few kilobytes of brackets are enough to exhaust the parser's stack.
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"the header is not valid JSON: {str(error)[:200]}") from error
    assert isinstance(document, dict)
    return document


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name appears twice in one object")
    return document


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not a JSON value")


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise HeaderError("__metadata__ is not an object of strings")
    return value


def _tensor(name: str, value: object) -> TensorInfo:
    shown = name[:200]
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(f"tensor {shown!r} does not have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise HeaderError(f"tensor {shown!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not _is_naturals(shape):
        raise HeaderError(f"tensor {shown!r} has a shape that is not a list of whole numbers")
    if not _is_naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise HeaderError(f"tensor {shown!r} has data_offsets that are not a pair begin <= end")
    bits = _BITS[dtype]
    for side in shape:
        bits *= side
        # Checked at every step: the product of a million large sides would take hours.
        if bits >= 2**66:
            raise HeaderError(f"tensor {shown!r} has a shape too large to be true")
    if bits != (offsets[1] - offsets[0]) * 8:
        raise HeaderError(
            f"tensor {shown!r} of shape {shape[:8]} and dtype {dtype} does not fill its "
            f"{offsets[1] - offsets[0]} bytes"
        )
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _is_naturals(value: object) -> bool:
    # bool is an int to Python and `true` is not a size.
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _data_size(tensors: Mapping[str, TensorInfo]) -> int:
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != position:
            fault = "overlaps the one before it" if tensor.begin < position else "leaves a gap before it"
            raise HeaderError(f"tensor {name[:200]!r} {fault}: begins at {tensor.begin}, expected {position}")
        position = tensor.end
    return position
