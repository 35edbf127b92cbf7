"""Requests whose pictures and archives have a form that the contract does not allow, though many readers take
it."""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from sd_plugin import archive
from sd_plugin.module import Pixels

#: Of PNG's header: colours, with and without alpha.
_RGB, _GREY = 2, 0


def misformed(image: Pixels) -> Iterator[tuple[str, bytes]]:
    """Each with what it is called; `image` is what they would be otherwise."""
    small, pack = archive.npy(image), archive.pack
    alpha = np.dstack([image, image[:, :, 0]])
    yield "a PNG with transparency", pack({"image.png": _saved(Image.fromarray(alpha))})
    keyed = _saved(Image.fromarray(image), transparency=(0, 0, 0))
    yield "a PNG with a transparent colour", pack({"image.png": keyed})
    yield "a PNG of 16 bits", pack({"image.png": _png_of_16_bits(image, _RGB)})
    yield "a grey PNG of 16 bits", pack({"image.png": _png_of_16_bits(image[:, :, :1], _GREY)})
    columns_first = io.BytesIO()
    np.save(columns_first, np.asfortranarray(image))
    yield "a picture in Fortran's order", pack({"image.npy": columns_first.getvalue()})
    yield "a picture as NPY and another as PNG", pack({"image.npy": small, "image.png": archive.png(image)})
    yield "a compressed entry", _zipped([("image.npy", small)], zipfile.ZIP_DEFLATED)
    yield "an entry that is there twice", _zipped([("image.npy", small)] * 2)


def _saved(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def _png_of_16_bits(image: Pixels, colours: int) -> bytes:
    """Which Pillow does not write in colours."""
    height, width = image.shape[:2]
    wide = image.astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    head = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _zipped(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", compression) as writing:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in entries:
            writing.writestr(name, content)
    return out.getvalue()
