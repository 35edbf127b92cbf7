"""What goes over the socket: ZIP archives of stored entries, with pictures as NPY or PNG and numbers as JSON.

Sizes are judged as they are declared, before anything is unpacked; nothing is compressed and nothing pickled,
so what is declared is all there can be. Used by both ends; knows nothing of HTTP.
"""

import io
import json
import math
import struct
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic_core
from PIL import Image

from sd_plugin import npy_header
from sd_plugin.contract import ModuleDescription, Parameter
from sd_plugin.errors import Invalid, InvalidParameter, TooLarge
from sd_plugin.module import Grey, Pixels

#: Of a run: picture, mask and every parameter.
Request = tuple[Pixels, Grey | None, dict[str, float]]

CONTENT_TYPE = "application/zip"
IMAGE, MASK, PARAMETERS, RESULT = "image", "mask", "parameters.json", "result.json"
#: Of a JSON entry that is read.
MOST_JSON_BYTES = 1 << 20
#: Levels of `result.json`.
MOST_DEPTH = 16
#: What NPY adds to the pixels, and ZIP to its entries, at most.
SPARE_BYTES = 1 << 16
#: Of all in an NPY file before the pixels.
MOST_NPY_FRAME_BYTES = 1024
#: Of an archive's directory, and of all in an answer but its entries' contents.
MOST_FRAME_BYTES = 4096
#: How an archive ends that has no comment, and what stands before that where it is of the 64-bit kind.
_END = struct.Struct("<4s4H2LH")
_END_MARK, _LOCATOR_MARK, _LOCATOR_BYTES = b"PK\5\6", b"PK\6\7", 20

_BROKEN_ZIP = (
    zipfile.BadZipFile,
    NotImplementedError,
    ValueError,
    EOFError,
    OSError,
    struct.error,
    RuntimeError,
)
#: How NPY calls uint8; of single bytes the order means nothing.
_BYTES = ("|u1", "<u1", ">u1", "=u1", "u1")
#: Pillow tells of broken files by all of these.
_BROKEN_PNG = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
_PNG_HEAD = struct.Struct(">8sI4sIIB")
_PNG_BITS = 8
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pack(entries: Mapping[str, bytes]) -> bytes:
    """An archive of these entries, stored."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            # A fixed time: equal runs give equal bytes.
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def npy(array: npt.NDArray[Any]) -> bytes:
    """The array as an NPY file."""
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def png(array: npt.NDArray[np.uint8]) -> bytes:
    """The picture (H, W, 3) or (H, W) as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", compress_level=1)
    return out.getvalue()


def unpack(body: bytes, most: Mapping[str, int]) -> dict[str, bytes]:
    """The entries of an archive; `most` has the names that may be there, and how many bytes of each.

    Raises `Invalid` for a broken archive, one with a comment or of the 64-bit kind, entries that are unknown,
    compressed, encrypted or there twice, and `TooLarge` for one that declares more than it may have.
    """
    if len(body) < _END.size or body[-_END.size :][:4] != _END_MARK:
        raise Invalid("archive: it is broken: no ZIP file, cut off, or with a comment; allowed: one without")
    if _END.unpack(body[-_END.size :])[5] > MOST_FRAME_BYTES:
        raise Invalid(f"archive: its directory is too large; allowed: {MOST_FRAME_BYTES} bytes")
    if body[-_END.size - _LOCATOR_BYTES :][:4] == _LOCATOR_MARK:
        raise Invalid("archive: it is of the 64-bit kind; allowed: a ZIP file of the usual kind")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = archive.infolist()
            for entry in entries:
                _judge(entry, most)
            if len({entry.filename for entry in entries}) < len(entries):
                raise Invalid("archive: an entry is there more than once; allowed: each entry once")
            return {entry.filename: archive.read(entry) for entry in entries}
    except _BROKEN_ZIP as error:
        raise Invalid(f"archive: it is broken: {error}; allowed: a ZIP file of stored entries") from error


def _judge(entry: zipfile.ZipInfo, most: Mapping[str, int]) -> None:
    if entry.filename not in most:
        raise InvalidParameter("entry", entry.filename, most)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise Invalid(f"{entry.filename}: it is compressed; allowed: entries that are stored")
    declared, allowed = max(entry.file_size, entry.compress_size), most[entry.filename]
    if declared > allowed:
        raise TooLarge(f"{entry.filename}: {declared} bytes are too many; allowed: {allowed}")


def read_npy(name: str, content: bytes, *, colours: bool, pixels: int) -> npt.NDArray[np.uint8]:
    """An NPY file with a picture (H, W, 3), or, without colours, (H, W), of at most so many pixels. A copy,
    so that it may be changed. Raises `Invalid` and `TooLarge`, in whose sentences it is called `name`."""
    stream = io.BytesIO(content)
    try:
        header = npy_header.read(stream)
    except ValueError as error:
        raise Invalid(f"{name}: it is no NPY file of version 1.0 or 2.0: {error}") from error
    if header.descr not in _BYTES:
        raise InvalidParameter(f"{name}: dtype", header.descr[:40], "'|u1' (uint8)")
    if header.fortran_order:
        raise InvalidParameter(f"{name}: fortran_order", True, "False")
    shape = header.shape
    wanted = "(height, width, 3)" if colours else "(height, width)"
    if len(shape) != (3 if colours else 2) or (colours and shape[2] != 3) or min(shape) < 1:
        raise InvalidParameter(f"{name}: shape", shape, wanted)
    _judge_pixels(name, shape[1], shape[0], pixels)
    data = content[stream.tell() :]
    if len(data) != math.prod(shape):
        raise Invalid(
            f"{name}: it has {len(data)} bytes of pixels; allowed: {math.prod(shape)}, as its shape says"
        )
    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def read_png(name: str, content: bytes, *, colours: bool, pixels: int) -> npt.NDArray[np.uint8]:
    """As `read_npy`, of a PNG file without transparency, of 8 bits; grey ones are pictures, too."""
    if len(content) < _PNG_HEAD.size:
        raise Invalid(f"{name}: it is no PNG file")
    signature, _, kind, width, height, bits = _PNG_HEAD.unpack_from(content)
    if signature != _PNG_SIGNATURE or kind != b"IHDR":
        raise Invalid(f"{name}: it is no PNG file")
    _judge_pixels(name, width, height, pixels)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            modes = ("RGB", "L", "P", "1") if colours else ("L", "1")
            if opened.mode not in modes:
                raise InvalidParameter(f"{name}: mode", opened.mode, modes)
            if bits > _PNG_BITS:
                raise InvalidParameter(f"{name}: bits", bits, f"{_PNG_BITS} at most")
            if "transparency" in opened.info:
                raise Invalid(f"{name}: it has a transparent colour; allowed: pictures without transparency")
            return np.array(opened.convert("RGB" if colours else "L"))
    except _BROKEN_PNG as error:
        raise Invalid(f"{name}: it is broken: {str(error)[:100]}") from error


def _judge_pixels(name: str, width: int, height: int, most: int) -> None:
    if width * height > most:
        raise TooLarge(f"{name}: {width}x{height} are too many pixels; allowed: {most} in all")


def _picture(
    entries: Mapping[str, bytes], name: str, *, colours: bool, pixels: int
) -> npt.NDArray[np.uint8] | None:
    given = [each for each in (f"{name}.npy", f"{name}.png") if each in entries]
    if len(given) > 1:
        raise Invalid(f"{name}: {' and '.join(given)} are both there; allowed: one of them")
    if not given:
        return None
    read = read_npy if given[0].endswith(".npy") else read_png
    return read(given[0], entries[given[0]], colours=colours, pixels=pixels)


def most_bytes(pixels: int) -> dict[str, int]:
    """What the entries of a request may have at most."""
    image, mask = 3 * pixels + SPARE_BYTES, pixels + SPARE_BYTES
    return {
        f"{IMAGE}.npy": image,
        f"{IMAGE}.png": image,
        f"{MASK}.npy": mask,
        f"{MASK}.png": mask,
        PARAMETERS: SPARE_BYTES,
    }


def read_request(body: bytes, module: ModuleDescription, pixels: int) -> Request:
    """Picture, mask and every parameter of a run; raises `Invalid` or `TooLarge`."""
    entries = unpack(body, most_bytes(pixels))
    image = _picture(entries, IMAGE, colours=True, pixels=pixels)
    if image is None:
        raise Invalid(f"{IMAGE}: it is missing; allowed: an entry {IMAGE}.npy or {IMAGE}.png")
    mask = _picture(entries, MASK, colours=False, pixels=pixels)
    if mask is not None and not module.mask:
        raise Invalid(f"{MASK}: {module.name} takes none; allowed: a request without one")
    if mask is not None and mask.shape != image.shape[:2]:
        raise InvalidParameter(f"{MASK}: shape", mask.shape, f"{image.shape[:2]}, the image's")
    return image, mask, judged(read_json(PARAMETERS, entries.get(PARAMETERS, b"{}")), module)


def read_json(name: str, content: bytes) -> dict[str, Any]:
    """A JSON object; raises `Invalid`."""
    try:
        read = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{name}: it is not JSON: {str(error)[:100]}") from error
    if not isinstance(read, dict):
        raise InvalidParameter(name, read, "a JSON object")
    return read


def read_result(content: bytes) -> dict[str, Any]:
    """A run's `result.json`; raises `Invalid`."""
    try:
        read = pydantic_core.from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise Invalid(f"{RESULT}: it is not JSON: {str(error)[:100]}") from error
    if len(content) > MOST_JSON_BYTES:
        raise Invalid(f"{RESULT}: {len(content)} bytes are too many; allowed: {MOST_JSON_BYTES}")
    if not isinstance(read, dict):
        raise InvalidParameter(RESULT, read, "a JSON object")
    _judge_value(read, MOST_DEPTH)
    seconds = read.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise InvalidParameter(f"{RESULT}: seconds", seconds, "a number that is not below 0")
    return read


def _judge_value(value: object, levels: int) -> None:
    if isinstance(value, dict | list):
        if levels == 0:
            raise Invalid(f"{RESULT}: it is nested too deep; allowed: {MOST_DEPTH} levels")
        for each in value.values() if isinstance(value, dict) else value:
            _judge_value(each, levels - 1)
    # Python's reader, like others, makes infinity of 1e999.
    elif isinstance(value, int | float) and not -sys.float_info.max <= value <= sys.float_info.max:
        raise Invalid(f"{RESULT}: a number is too large; allowed: those of 64 bits")


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON's")


def judged(given: Mapping[str, Any], module: ModuleDescription) -> dict[str, float]:
    """Every parameter of the module, those not given as they are by default; raises `InvalidParameter`."""
    known = [each.name for each in module.parameters]
    for name in given:
        if name not in known:
            raise InvalidParameter("parameter", name, known or "none")
    return {each.name: _judged(given.get(each.name, each.default), each) for each in module.parameters}


def _judged(value: object, parameter: Parameter) -> float:
    whole = parameter.type == "integer"
    allowed = f"{'a whole number' if whole else 'a number'} from {parameter.minimum} to {parameter.maximum}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidParameter(parameter.name, value, allowed)
    if not parameter.minimum <= value <= parameter.maximum or (whole and value != int(value)):
        raise InvalidParameter(parameter.name, value, allowed)
    return int(value) if whole else float(value)
