"""Pictures as files with their parameters, and pictures and parameters out of files of others."""

import base64
import io
import json
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from sd_runtime.errors import UnsupportedError
from sd_runtime.images import codec

LIMIT = 10_000
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_a_png_has_the_very_pixels():
    with Image.open(io.BytesIO(codec.encode(PIXELS, "png", "x"))) as image:
        assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("text", ["a cat\nSteps: 20", "ein Bär", "一只猫, 🐈\nNegative prompt: 狗"])
def test_parameters_in_a_png_are_read_back(text):
    png = codec.encode(PIXELS, "png", text)
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


@pytest.mark.parametrize("text", ["a cat\nSteps: 20", "一只猫, 🐈\nNegative prompt: 狗"])
@pytest.mark.parametrize("form", ["jpg", "jpeg", "webp"])
def test_parameters_in_the_exif_comment_are_read_back(form, text):
    data = codec.encode(PIXELS, form, text)
    assert codec.read_metadata(data).parameters == text
    assert codec.decode(data, max_pixels=LIMIT).shape == PIXELS.shape


def test_parameters_that_exif_cannot_hold_are_cut_and_the_picture_is_whole():
    data = codec.encode(PIXELS, "jpg", "x" * 50_000)
    found = codec.read_metadata(data).parameters
    assert found == "x" * len(found)
    assert len(found) > 32_000
    assert codec.decode(data, max_pixels=LIMIT).shape == PIXELS.shape


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_without_parameters_there_are_none_in_the_file(form):
    assert codec.read_metadata(codec.encode(PIXELS, form, None)) == codec.Metadata("", {})


def test_lossless_webp_has_the_very_pixels_and_quality_makes_files_larger():
    noisy = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    lossless = codec.encode(noisy, "webp", None, lossless=True)
    assert np.array_equal(codec.decode(lossless, max_pixels=LIMIT), noisy)
    for form in ("jpg", "webp"):
        assert len(codec.encode(noisy, form, None, quality=95)) > len(
            codec.encode(noisy, form, None, quality=20)
        )


def test_a_format_that_is_not_written_is_refused_by_name():
    with pytest.raises(UnsupportedError, match=r"samples_format: 'tiff' .* png"):
        codec.encode(PIXELS, "tiff", None)


def file(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def test_a_picture_is_decoded_to_its_pixels():
    assert np.array_equal(codec.decode(codec.encode(PIXELS, "png", "x"), max_pixels=24), PIXELS)


RED_HALF = np.array([[[255, 0, 0, 255], [255, 0, 0, 0]]], dtype=np.uint8)


def palette_with_transparency():
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 255, 0, 0])
    return file(image, transparency=1)


@pytest.mark.parametrize("data", [file(Image.fromarray(RED_HALF)), palette_with_transparency()])
def test_what_is_transparent_is_laid_on_the_background(data):
    assert codec.decode(data, max_pixels=2).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert codec.decode(data, max_pixels=2, background=(1, 2, 3)).tolist() == [[[255, 0, 0], [1, 2, 3]]]
    assert codec.decode(data, max_pixels=2, background=None)[..., 3].tolist() == [[255, 0]]


def test_grey_of_sixteen_bits_is_scaled_and_not_clipped():
    data = file(Image.fromarray(np.array([[0, 256, 65535]], dtype=np.uint16)))
    assert codec.decode(data, max_pixels=3)[0, :, 0].tolist() == [0, 1, 255]


def test_a_picture_lying_on_its_side_is_put_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file(Image.fromarray(PIXELS), form="JPEG", exif=exif)
    assert codec.decode(data, max_pixels=LIMIT).shape == (6, 4, 3)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = file(frames[0], form="GIF", save_all=True, append_images=frames[1:])
    assert codec.decode(data, max_pixels=4)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("reader", [codec.decode, codec.decode_mask])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(reader):
    data = codec.encode(PIXELS, "png", None)
    spoilt = data[:-25]  # would fail if it was decoded
    with pytest.raises(codec.TooManyPixels, match="6x4 pixels are more than 23"):
        reader(spoilt, max_pixels=23)


@pytest.mark.parametrize("data", [b"", b"text", codec.encode(np.tile(PIXELS, (9, 9, 1)), "png", None)[:-60]])
def test_what_cannot_be_decoded_is_no_picture(data):
    with pytest.raises(codec.NotAPicture, match="not a picture"):
        codec.decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("pixels", "binary", "mask"),
    [
        ([[[0, 0, 0], [255, 255, 255]]], True, [[0, 255]]),
        ([[[0, 0, 0, 255], [255, 255, 255, 255]]], True, [[0, 255]]),
        ([[[0, 0, 0, 129], [255, 255, 255, 128]]], True, [[255, 0]]),
        ([[[0, 0, 0, 129], [255, 255, 255, 128]]], False, [[129, 128]]),
    ],
    ids=["brightness", "an alpha channel that says nothing", "alpha", "alpha in between"],
)
def test_a_mask_is_the_alpha_channel_where_one_is_used(pixels, binary, mask):
    data = file(Image.fromarray(np.array(pixels, dtype=np.uint8)))
    assert codec.decode_mask(data, max_pixels=2, binary=binary).tolist() == mask


WHOLE = [
    *(codec.encode(PIXELS, form, "a cat") for form in ("png", "jpg", "webp")),
    file(Image.fromarray(PIXELS), form="GIF", comment=b"a cat"),
    file(Image.fromarray(RED_HALF)),
]


@given(st.sampled_from(WHOLE), st.data())
def test_spoilt_bytes_are_a_picture_or_none_and_nothing_else_happens(data, draw):
    spoilt = bytearray(data)
    for place, value in draw.draw(
        st.dictionaries(st.integers(0, len(data) - 1), st.integers(0, 255))
    ).items():
        spoilt[place] = value
    spoilt = bytes(spoilt[: draw.draw(st.integers(0, len(data)))])
    for read in (codec.decode, codec.decode_mask):
        with suppress(codec.NotAPicture):
            assert read(spoilt, max_pixels=LIMIT).size <= 4 * LIMIT
    with suppress(codec.NotAPicture):
        codec.read_metadata(spoilt)


def novelai_file(comment):
    text = codec.PngImagePlugin.PngInfo()
    for key, value in {"Software": "NovelAI", "Description": "a cat", "Comment": comment}.items():
        text.add_text(key, value)
    return file(Image.fromarray(PIXELS), pnginfo=text)


def test_what_novelai_wrote_is_told_in_a1111s_words():
    said = {"sampler": "k_euler_ancestral", "uc": "dogs", "steps": 28, "scale": 11.0, "seed": 7}
    assert codec.read_metadata(novelai_file(json.dumps(said))).parameters == (
        "a cat\nNegative prompt: dogs\nSteps: 28, Sampler: Euler a, CFG scale: 11.0, Seed: 7, Size: 6x4,"
        " Clip skip: 2, ENSD: 31337"
    )


@pytest.mark.parametrize("comment", ["{", "[]", "{}", "1", "[" * 100_000])
def test_a_comment_that_is_not_novelais_gives_no_parameters(comment):
    assert codec.read_metadata(novelai_file(comment)).parameters == ""


def test_other_texts_are_items_and_facts_of_the_file_are_not():
    text = codec.PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format="PNG", pnginfo=text, dpi=(72, 72))
    assert codec.read_metadata(buffer.getvalue()) == codec.Metadata("", {"Author": "somebody"})


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", codec.encode(PIXELS, "png", "x")[:20], base64.b64encode(b"x" * 100)],
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
    png = codec.encode(PIXELS, "png", "x")
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
    with pytest.raises(codec.TooManyPixels):
        codec.decode(bytes(data), max_pixels=LIMIT)


@pytest.mark.parametrize("size", [(2**16 + 1, 1), (1, 2**16 + 1)])
def test_a_picture_with_a_side_that_no_picture_has_is_refused(size):
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, format="PNG")
    with pytest.raises(codec.TooManyPixels, match="a side is longer than 65536"):
        codec.decode(buffer.getvalue(), max_pixels=2**20)


@pytest.mark.parametrize(("form", "side"), [("webp", 16_383), ("jpg", 65_500)])
def test_a_picture_that_is_longer_than_a_format_can_hold_is_refused_by_name(form, side):
    codec.judge_form(form, (side, 1))
    with pytest.raises(UnsupportedError, match=f"samples_format: '{form} of {side + 1}x1 .*{side} .* png"):
        codec.encode(np.zeros((1, side + 1, 3), dtype=np.uint8), form, None)


def test_metadata_are_read_without_decoding_a_pixel(monkeypatch):
    """Of a PNG without EXIF, too, behind whose pixels Pillow would look for some."""
    buffer = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat")
    Image.new("L", (64, 64)).save(buffer, "PNG", pnginfo=text)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    assert codec.read_metadata(buffer.getvalue()).parameters == "a cat"
