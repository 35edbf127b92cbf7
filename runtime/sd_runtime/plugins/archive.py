"""What goes to a module and comes back: ZIP archives of pictures as NPY and of objects as JSON, nothing of it
compressed.

An answer is judged before anything of it is unpacked, entry by entry; nothing in it is ever run (no pickles).
The bounds are those of `docs/plugin-contract.md`.
"""

import io
import json
import struct
import sys
import zipfile
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pydantic_core

from sd_runtime.errors import shown
from sd_runtime.plugins import npy_header
from sd_runtime.plugins.faults import BrokenContract

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Grey = npt.NDArray[np.uint8]  # (height, width)

IMAGE, MASK, PARAMETERS, RESULT = "image.npy", "mask.npy", "parameters.json", "result.json"
#: Of what else a module tells of a picture, e.g. poses.
MOST_JSON_BYTES = 1024 * 1024
#: Of everything in an archive but the entries' contents.
MOST_FRAME_BYTES = 4096
#: Levels of JSON: enough for lists of people's lists of points, and too few to trouble anyone.
_MOST_DEPTH = 16
#: How an archive ends that has no comment, and what stands before that where it is of the 64-bit kind.
_END = struct.Struct("<4s4H2LH")
_END_MARK, _LOCATOR_MARK, _LOCATOR_BYTES = b"PK\5\6", b"PK\6\7", 20
#: Of all in an NPY file before the pixels.
_MOST_NPY_FRAME_BYTES = 1024
#: How NPY calls uint8; of single bytes the order means nothing.
_BYTES = ("|u1", "<u1", ">u1", "=u1", "u1")
_CHUNK = 1024 * 1024
#: Of the numbers that are 64 bits long everywhere.
_LARGEST = sys.float_info.max
_ENCRYPTED = 0x1


def pack(image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> bytes:
    """The body of a request to a module."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _put(archive, IMAGE, image)
        if mask is not None:
            _put(archive, MASK, mask)
        archive.writestr(PARAMETERS, json.dumps(dict(parameters)))
    return buffer.getvalue()


def most_bytes(pixels: int) -> int:
    """Of an answer whose picture has at most so many pixels."""
    return 3 * pixels + MOST_JSON_BYTES + MOST_FRAME_BYTES


def unpack(body: bytes, *, most_pixels: int) -> tuple[Pixels, dict[str, Any]]:
    """The picture, (height, width, 3), and the object of an answer; raises `BrokenContract`."""
    _judge_end(body)
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = _judged(archive.infolist(), most_pixels)
            with archive.open(entries[IMAGE]) as stream:
                image = _read_image(stream, most_pixels)
            return image, _read_object(archive.read(entries[RESULT]))
    except BrokenContract:
        raise
    # What zipfile makes of bytes that are not what they say they are.
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise BrokenContract(f"its answer is a broken archive: {shown(str(error))}") from error


def _put(archive: zipfile.ZipFile, name: str, array: npt.NDArray[np.uint8]) -> None:
    with archive.open(name, "w") as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def _judge_end(body: bytes) -> None:
    """How many entries there are, before zipfile makes an object of each."""
    if len(body) < _END.size or body[-_END.size :][:4] != _END_MARK:
        raise BrokenContract("its answer is not a whole ZIP archive (without a comment)")
    entries, directory_bytes = _END.unpack(body[-_END.size :])[4:6]
    before = len(body) - _END.size - _LOCATOR_BYTES
    if before >= 0 and body[before : before + 4] == _LOCATOR_MARK:
        raise BrokenContract("its answer is a ZIP archive of the 64-bit kind")
    if entries != 2 or directory_bytes > MOST_FRAME_BYTES:
        raise BrokenContract(f"its answer has {entries} entries; allowed: {IMAGE} and {RESULT}")


def _judged(infos: list[zipfile.ZipInfo], most_pixels: int) -> dict[str, zipfile.ZipInfo]:
    entries = {info.filename: info for info in infos}
    if sorted(info.filename for info in infos) != [IMAGE, RESULT]:
        named = ", ".join(repr(info.filename[:40]) for info in infos)
        raise BrokenContract(f"its answer has the entries {named}; allowed: {IMAGE} and {RESULT}")
    largest = {IMAGE: 3 * most_pixels + _MOST_NPY_FRAME_BYTES, RESULT: MOST_JSON_BYTES}
    for name, info in entries.items():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
            raise BrokenContract(f"{name} of its answer is compressed or encrypted; allowed: stored as it is")
        if info.file_size != info.compress_size or info.file_size > largest[name]:
            raise BrokenContract(
                f"{name} of its answer has {info.file_size} bytes; allowed: at most {largest[name]}"
            )
    return entries


def _read_image(stream: Any, most_pixels: int) -> Pixels:
    try:
        header = npy_header.read(stream)
    except ValueError as error:
        raise BrokenContract(f"{IMAGE} of its answer: {error}") from error
    if header.descr not in _BYTES or header.fortran_order:
        raise BrokenContract(
            f"{IMAGE} of its answer has the dtype {shown(header.descr)} and fortran_order"
            f" {header.fortran_order}; allowed: '|u1' (uint8) and False"
        )
    if not _is_picture(header.shape, most_pixels):
        raise BrokenContract(
            f"{IMAGE} of its answer has the shape {shown(header.shape)}; allowed: (height, width, 3) of at"
            f" most {most_pixels} pixels"
        )
    image = np.empty(header.shape, np.uint8)
    _fill(stream, image.data.cast("B"))
    return image


def _is_picture(shape: tuple[int, ...], most_pixels: int) -> TypeGuard[tuple[int, int, int]]:
    if len(shape) != 3:
        return False
    height, width, channels = shape
    return channels == 3 and height > 0 and width > 0 and height * width <= most_pixels


def _fill(stream: Any, into: memoryview) -> None:
    done = 0
    while done < len(into):
        chunk = stream.read(min(_CHUNK, len(into) - done))
        if not chunk:
            raise BrokenContract(f"{IMAGE} of its answer ends after {done} of {len(into)} bytes of pixels")
        into[done : done + len(chunk)] = chunk
        done += len(chunk)
    if stream.read(1):  # also has zipfile look at the checksum
        raise BrokenContract(f"{IMAGE} of its answer has more bytes than its shape says")


def _read_object(data: bytes) -> dict[str, Any]:
    try:
        value = pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise BrokenContract(f"{RESULT} of its answer is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BrokenContract(f"{RESULT} of its answer is no object")
    _judge_value(value, _MOST_DEPTH)
    seconds = value.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise BrokenContract(f"{RESULT} of its answer tells no seconds: {shown(seconds)}")
    return value


def _judge_value(value: object, levels: int) -> None:
    """Demands that JSON's writers can write it again, and little depth."""
    if isinstance(value, (dict, list)):
        if levels == 0:
            raise BrokenContract(f"{RESULT} of its answer is nested in more than {_MOST_DEPTH} levels")
        for each in value.values() if isinstance(value, dict) else value:
            _judge_value(each, levels - 1)
    # Readers make infinity of 1e999, and Python writes no whole number of thousands of digits.
    elif isinstance(value, int | float) and not -_LARGEST <= value <= _LARGEST:
        raise BrokenContract(f"{RESULT} of its answer has a number that is too large")
