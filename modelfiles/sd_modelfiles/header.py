"""The safetensors header: read, and checked so that every tensor it names lies inside the file.

The header comes from a stranger, so it is bounded before it is parsed and every number in it is checked
before it is believed. The format demands that tensors fill the data exactly (no gap, no overlap); that also
gives the size the whole file must have, which is how a cut file is told from a whole one. Knows nothing of
what the tensors mean.

It is read tensor by tensor and never as one JSON document: a stranger's nest of brackets would take fifty
times its own size in memory. Like this a header takes at most `MEMORY_FACTOR` times its length, and a time
that grows with its length alone.
"""

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LENGTH_BYTES = 8
# The limit of the safetensors library itself; a larger header is refused by every reader.
MAX_HEADER_BYTES = 100 * 1024 * 1024
# The most memory that reading a header takes, what is kept included, as a multiple of its length.
MEMORY_FACTOR = 20
# PyTorch makes no tensor with more.
MAX_DIMENSIONS = 64

# In the order in which the safetensors library sorts them.
BITS = {
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
    tensors, metadata = _Document(raw).read()
    data_start = LENGTH_BYTES + len(raw)
    return Header(tensors, metadata, data_start, data_start + _data_size(tensors))


def encode(shapes: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The length and the JSON of a file that holds these tensors (dtype, shape), in the library's order.

    Wide elements come first, so that every tensor begins where its elements may be read in place.
    """
    order = {dtype: place for place, dtype in enumerate(reversed(BITS))}
    document: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name in sorted(shapes, key=lambda name: (order[shapes[name][0]], name)):
        dtype, shape = shapes[name]
        end = position + math.prod(shape) * BITS[dtype] // 8
        document[name] = {"dtype": dtype, "shape": shape, "data_offsets": (position, end)}
        position = end
    raw = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name appears twice in one object")
    return document


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not a JSON value")


_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
# A tensor's description holds no object and no text with braces; the longest true one is 20 digits for each
# of the sides. The bound keeps what the JSON parser sees small, however long the header is.
_DESCRIPTION = re.compile(r"\{[^{}]{0,2000}\}")
_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant)


class _Document:
    """A header's JSON and how far it is read."""

    def __init__(self, raw: bytes) -> None:
        if not raw.startswith(b"{"):
            raise HeaderError("the header does not begin with '{'")
        try:
            self._text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise HeaderError(f"the header is not valid JSON: it is not UTF-8 ({error.reason})") from error
        self._at = 0

    def read(self) -> tuple[dict[str, TensorInfo], dict[str, str]]:
        tensors: dict[str, TensorInfo] = {}
        metadata: dict[str, str] | None = None
        for name in self._members():
            if name == "__metadata__" and metadata is None:
                metadata = self._metadata()
            elif name in tensors or name == "__metadata__":
                raise HeaderError(f"{name[:200]!r} appears twice in the header")
            else:
                tensors[name] = _tensor(name, self._description(name))
        self._skip_space()
        if self._at != len(self._text):
            raise self._invalid("something follows the object")
        return tensors, metadata or {}

    def _members(self) -> Iterator[str]:
        """The names of the object that begins here; whoever iterates reads the value of each."""
        self._expect("{", "an object")
        self._skip_space()
        if self._take("}"):
            return
        while True:
            self._skip_space()
            name = self._string("a name in quotes")
            self._skip_space()
            self._expect(":", "':' after a name")
            self._skip_space()
            yield name
            self._skip_space()
            if self._take("}"):
                return
            self._expect(",", "',' or '}' after a value")

    def _metadata(self) -> dict[str, str]:
        metadata: dict[str, str] = {}
        if not self._text.startswith("{", self._at):
            raise HeaderError("__metadata__ is not an object of strings")
        for name in self._members():
            if name in metadata:
                raise HeaderError(f"{name[:200]!r} appears twice in __metadata__")
            if not self._text.startswith('"', self._at):
                raise HeaderError("__metadata__ is not an object of strings")
            metadata[name] = self._string("a text in quotes")
        return metadata

    def _description(self, name: str) -> object:
        found = _DESCRIPTION.match(self._text, self._at)
        if found is None:
            raise HeaderError(f"tensor {name[:200]!r} does not have exactly dtype, shape and data_offsets")
        self._at = found.end()
        try:
            return _DECODER.decode(found[0])
        # A few hundred brackets are enough to exhaust a parser's stack.
        except (ValueError, RecursionError) as error:
            raise HeaderError(
                f"tensor {name[:200]!r}: its description is not valid JSON: {str(error)[:200]}"
            ) from error

    def _string(self, wanted: str) -> str:
        if not self._text.startswith('"', self._at):
            raise self._invalid(f"expected {wanted}")
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except ValueError as error:
            raise HeaderError(f"the header is not valid JSON: {str(error)[:200]}") from error
        text = str(value)
        # Half of a pair can be escaped in JSON, and nobody can write it down again.
        if _SURROGATE.search(text) is not None:
            raise HeaderError("the header is not valid JSON: a text holds half of a surrogate pair")
        return text

    def _expect(self, character: str, wanted: str) -> None:
        if not self._take(character):
            raise self._invalid(f"expected {wanted}")

    def _take(self, character: str) -> bool:
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        return True

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _invalid(self, fault: str) -> HeaderError:
        return HeaderError(f"the header is not valid JSON: {fault} at character {self._at}")


def _tensor(name: str, value: object) -> TensorInfo:
    shown = name[:200]
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(f"tensor {shown!r} does not have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise HeaderError(f"tensor {shown!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not _is_naturals(shape):
        raise HeaderError(f"tensor {shown!r} has a shape that is not a list of whole numbers")
    if len(shape) > MAX_DIMENSIONS:
        raise HeaderError(
            f"tensor {shown!r} has {len(shape)} dimensions; at most {MAX_DIMENSIONS} are allowed"
        )
    if not _is_naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise HeaderError(f"tensor {shown!r} has data_offsets that are not a pair begin <= end")
    bits = BITS[dtype]
    for side in shape:
        bits *= side
        # Checked at every step: numbers of any size are as large as they please.
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
