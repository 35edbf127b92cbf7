"""What comes over the socket is either a request or refused in words, whatever its bytes are."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from contextlib import suppress

import numpy as np
import plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd_plugin import archive
from sd_plugin.conformance import forms
from sd_plugin.conformance.probe import picture
from sd_plugin.errors import Invalid, PluginError, TooLarge

_PIXELS = 250_000


def read(body: bytes) -> None:
    archive.read_request(body, plain.DESCRIPTION, _PIXELS)


def _zipped(entries: list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as writing:
        for name, content in entries:
            writing.writestr(name, content)
    return out.getvalue()


_SMALL = archive.npy(picture(64, 64))


def _header(text: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    head = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(head)) + head + data


def _png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "error", "sentence"),
    [
        (_zipped([("image.npy", _SMALL)], zipfile.ZIP_DEFLATED), Invalid, "image.npy: it is compressed"),
        (
            _zipped([("../image.npy", _SMALL)]),
            Invalid,
            "entry: '../image.npy' is not accepted; allowed: image.npy",
        ),
        (
            _zipped([("image.npy", _SMALL), ("image.png", b"")]),
            Invalid,
            "image: image.npy and image.png are both",
        ),
        (
            _zipped([("image.npy", bytes(3 * _PIXELS + 70_000))]),
            TooLarge,
            "image.npy: 820000 bytes are too many",
        ),
        (_zipped([("image.npy", _header("(" * 5000))]), Invalid, "image.npy: it is no NPY file"),
        (_zipped([("image.npy", _header("{'descr': '|u1'}"))]), Invalid, "image.npy: it is no NPY file"),
        (
            _zipped([("image.npy", _header("{'descr':'|u1','fortran_order':True,'shape':(1,1,3)}", b"abc"))]),
            Invalid,
            "image.npy: fortran_order: True is not accepted; allowed: False",
        ),
        (
            _zipped(
                [("image.npy", _header("{'descr':'|u1','fortran_order':False,'shape':(-1,-1,3)}", b"abc"))]
            ),
            Invalid,
            "image.npy: shape: (-1, -1, 3) is not accepted; allowed: (height, width, 3)",
        ),
        (
            _zipped([("image.npy", _header("{'descr':'|u1','fortran_order':False,'shape':(9**9,9**9,3)}"))]),
            Invalid,
            "image.npy: it is no NPY file",
        ),
        (
            _zipped([("image.png", _png(2**31, 2**31))]),
            TooLarge,
            "image.png: 2147483648x2147483648 are too many",
        ),
        (_zipped([("image.png", _png(0, 5))]), Invalid, "image.png: it is broken"),
        (_zipped([("image.png", _png(8, 8, data=b"junk"))]), Invalid, "image.png: it is broken"),
        (_zipped([("image.png", _png(8, 8, 16, 0))]), Invalid, "image.png: mode: 'I;16' is not accepted"),
        (_zipped([("image.png", _png(8, 8, 8, 6))]), Invalid, "image.png: mode: 'RGBA' is not accepted"),
        (
            _zipped([("image.npy", _SMALL), ("mask.npy", archive.npy(np.zeros((3, 3), np.uint8)))]),
            Invalid,
            "mask: shape: (3, 3) is not accepted; allowed: (64, 64), the image's",
        ),
    ],
)
def test_what_is_no_request_is_refused_in_words(body: bytes, error: type[PluginError], sentence: str) -> None:
    with pytest.raises(error) as caught:
        read(body)
    assert str(caught.value).startswith(sentence)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="an entry is there more than once"):
        read(_zipped([("image.npy", _SMALL), ("image.npy", _SMALL)]))


def test_a_mask_for_a_module_without_one_is_refused() -> None:
    mask = archive.npy(np.zeros((64, 64), np.uint8))
    body = archive.pack({"image.npy": _SMALL, "mask.npy": mask})
    with pytest.raises(Invalid, match="mask: missing takes none"):
        archive.read_request(body, plain.MISSING, _PIXELS)


def test_a_picture_that_was_read_may_be_changed() -> None:
    image, _, _ = archive.read_request(archive.pack({"image.npy": _SMALL}), plain.DESCRIPTION, _PIXELS)
    image[0, 0] = 7
    assert image[0, 0].tolist() == [7, 7, 7]


def test_equal_entries_give_equal_bytes() -> None:
    assert archive.pack({"image.npy": _SMALL}) == archive.pack({"image.npy": _SMALL})


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_at_all_are_refused(body: bytes) -> None:
    with pytest.raises(PluginError):
        read(body)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["image.npy", "image.png", "mask.npy", "mask.png", "parameters.json"]),
        st.one_of(
            st.binary(max_size=200),
            st.binary(max_size=200).map(lambda rest: _SMALL[:10] + rest),
            st.binary(max_size=100).map(lambda rest: _png(4, 4, data=rest)),
            st.text(max_size=100).map(lambda text: _header(text.encode("ascii", "ignore").decode())),
            st.text(max_size=100).map(str.encode),
        ),
        max_size=5,
    )
)
def test_any_entries_at_all_are_read_or_refused(entries: dict[str, bytes]) -> None:
    with pytest.raises(PluginError):
        read(archive.pack(entries))


_VALID = archive.pack({"image.npy": _SMALL, "parameters.json": b'{"strength": 1}'})


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(_VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_request_with_other_bytes_in_it_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    body = bytearray(_VALID)
    for at, value in changes:
        # Where the form is: the pixels in the middle are only pixels.
        body[at if at < 200 or at > len(body) - 400 else at % 200] = value
    with suppress(PluginError):
        read(bytes(body))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("a PNG of 16 bits", "image.png: bits: 16 is not accepted; allowed: 8 at most"),
        (
            "a PNG with a transparent colour",
            "image.png: it has a transparent colour; allowed: pictures without",
        ),
    ],
)
def test_a_png_that_would_have_to_be_bent_is_refused(what: str, sentence: str) -> None:
    body = dict(forms.misformed(picture(8, 8)))[what]
    with pytest.raises(Invalid) as caught:
        read(body)
    assert str(caught.value).startswith(sentence)
