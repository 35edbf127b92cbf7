"""The header of an NPY file: a Python dictionary as NumPy prints one.

Read by a pattern, where NumPy has Python's parser do it: what strangers send is taken for nothing
more than it can be, and Python before 3.11.8 may fail where several threads parse (cpython issue 106905).
"""

import re
from dataclasses import dataclass
from typing import BinaryIO

#: Of a header that is read.
MOST_HEADER_BYTES = 512
#: How many bytes say how long the header is, by version.
_LENGTH_BYTES = {b"\x93NUMPY\1\0": 2, b"\x93NUMPY\2\0": 4}
_ITEM = (
    r"""\s*['"](descr|fortran_order|shape)['"]\s*:"""
    r"""\s*('[^'\\]*'|"[^"\\]*"|True|False|\((?:\s*-?[0-9]+\s*,)*(?:\s*-?[0-9]+)?\s*\))\s*"""
)
_ONE_ITEM, _ITEMS = re.compile(_ITEM), re.compile(rf"\{{(?:{_ITEM},)*(?:{_ITEM})?\s*\}}\s*")
_NUMBER = re.compile("-?[0-9]+")


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What it says: the kind of its numbers (`|u1`: uint8), their order, and their shape."""

    descr: str
    fortran_order: bool
    shape: tuple[int, ...]


def read(stream: BinaryIO) -> NpyHeader:
    """That of a file of version 1.0 or 2.0, from its first byte on; raises `ValueError`."""
    length_bytes = _LENGTH_BYTES.get(stream.read(8))
    if length_bytes is None:
        raise ValueError("it is not NPY 1.0 or 2.0")
    length = int.from_bytes(stream.read(length_bytes), "little")
    if length > MOST_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes; allowed: {MOST_HEADER_BYTES}")
    text = stream.read(length).decode("latin-1")
    items = _ONE_ITEM.findall(text) if _ITEMS.fullmatch(text) else []
    said = dict(items)
    descr, order, shape = (said.get(key, "") for key in ("descr", "fortran_order", "shape"))
    if len(items) != 3 or descr[:1] not in "'\"" or order not in ("True", "False") or shape[:1] != "(":
        raise ValueError("its header cannot be read")
    return NpyHeader(descr[1:-1], order == "True", tuple(map(int, _NUMBER.findall(shape))))
