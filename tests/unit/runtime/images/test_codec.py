"""Pictures as PNG with their parameters, and the parameters out of pictures of others."""

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from sd_runtime.images import codec

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_a_png_has_the_very_pixels():
    with Image.open(io.BytesIO(codec.encode_png(PIXELS, "x"))) as image:
        assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("text", ["a cat\nSteps: 20", "ein Bär", "一只猫, 🐈\nNegative prompt: 狗"])
def test_parameters_in_a_png_are_read_back(text):
    png = codec.encode_png(PIXELS, text)
    assert codec.read_metadata(png) == codec.Metadata(text, {})
    with Image.open(io.BytesIO(png)) as image:
        assert image.info["parameters"] == text


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_parameters_are_found_in_the_exif_comment(form):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a bär\nSteps: 1".encode("utf-16-be")
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format=form, exif=exif)
    assert codec.read_metadata(buffer.getvalue()).parameters == "a bär\nSteps: 1"


def test_parameters_are_found_in_the_comment_of_a_gif():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format="GIF", comment=b"a cat")
    assert codec.read_metadata(buffer.getvalue()).parameters == "a cat"


def test_other_texts_are_items_and_facts_of_the_file_are_not():
    text = codec.PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format="PNG", pnginfo=text, dpi=(72, 72))
    assert codec.read_metadata(buffer.getvalue()) == codec.Metadata("", {"Author": "somebody"})


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", codec.encode_png(PIXELS, "x")[:20], base64.b64encode(b"x" * 100)],
    ids=["nothing", "text", "cut off", "base64"],
)
def test_what_is_not_a_picture_is_said_to_be_none(data):
    with pytest.raises(codec.NotAPicture):
        codec.read_metadata(data)


def test_other_formats_are_not_read():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format="TIFF")
    with pytest.raises(codec.NotAPicture):
        codec.read_metadata(buffer.getvalue())


def test_a_spoilt_exif_block_makes_it_no_picture():
    png = codec.encode_png(PIXELS, "x")
    block = b"eXIf" + b"MM\0*"  # ends where the place of its first entry should be told
    chunk = (4).to_bytes(4, "big") + block + zlib.crc32(block).to_bytes(4, "big")
    behind_header = 33
    with pytest.raises(codec.NotAPicture):
        codec.read_metadata(png[:behind_header] + chunk + png[behind_header:])


def test_a_picture_that_claims_to_be_enormous_is_refused_unread():
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, format="PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(codec.NotAPicture):
        codec.read_metadata(bytes(data))
