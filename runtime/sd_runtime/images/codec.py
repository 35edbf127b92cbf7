"""Arrays to picture files with the generation parameters inside, and back.

The key and the places of the parameters are A1111's: PNG text `parameters`, EXIF UserComment, GIF comment.
What they mean is not known here.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from sd_runtime.errors import UnsupportedError
from sd_runtime.images import novelai, resizing
from sd_runtime.images.resizing import LONGEST_SIDE

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB; (height, width, 4) where alpha is told of
Grey = npt.NDArray[np.uint8]  # (height, width)

PARAMETERS = "parameters"
#: Pillow reads many more, each of them code that would stand open to whatever a client sends.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
#: What can be written: the file's ending, and Pillow's name.
WRITTEN = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}

#: The longest side that a format can hold.
LONGEST_WRITTEN = {"JPEG": 65_500, "WEBP": 16_383}

#: What Pillow tells of the file itself, not text that somebody put into it.
_FILE_FACTS = {
    *("jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression", "photoshop"),
    *("dpi", "exif", "icc_profile", "gamma", "srgb", "chromaticity", "transparency", "interlace"),
    *("loop", "background", "timestamp", "duration", "version"),
}
#: An EXIF block is one segment of a JPEG, which is shorter than 64 KiB; the rest of it takes less than 200.
_MOST_EXIF_TEXT = 65_533 - 200
_OPAQUE = 255
#: How a JPEG begins, and each of its scans. Each goes over all pixels and may take a few bytes; progressive
#: ones have about ten.
_JPEG, _SCAN, _MOST_SCANS = b"\xff\xd8", b"\xff\xda", 64


_UNREADABLE = "not a picture of a known format, or cut off"


class NotAPicture(ValueError):
    """The bytes are not a picture of a known format."""


class TooManyPixels(NotAPicture):
    """The picture is larger or longer than allowed; not a pixel of it was decoded."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The text in a picture file: the generation parameters ("" when there are none), and everything else."""

    parameters: str
    items: dict[str, str]


def encode(
    pixels: Pixels, form: str, parameters: str | None, *, quality: int = 80, lossless: bool = False
) -> bytes:
    """The picture as a file of format `form` (png, jpg or webp), with the parameters in its right place.

    `quality` (1 to 100) is of JPEG and WebP, `lossless` of WebP. Parameters longer than EXIF can hold
    (32,000 characters) are cut there.
    """
    judge_form(form, resizing.size_of(pixels))
    name = WRITTEN[form.lower()]
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if name == "PNG":
        image.save(buffer, format=name, pnginfo=_png_text(parameters))
    elif name == "JPEG":
        image.save(buffer, format=name, quality=quality, exif=_exif(parameters))
    else:
        image.save(buffer, format=name, quality=quality, lossless=lossless, exif=_exif(parameters))
    return buffer.getvalue()


def judge_form(form: str, size: resizing.Size, *, of: str = "") -> None:
    """Raises `UnsupportedError` for a format that is not written, and for one that holds no picture as long
    as this; `of` says which picture it is, where that is not plain."""
    name = WRITTEN.get(form.lower())
    if name is None:
        raise UnsupportedError("samples_format", form, WRITTEN)
    most = LONGEST_WRITTEN.get(name)
    if most is not None and max(size) > most:
        width, height = size
        allowed = f"{form} with sides of at most {most} pixels, or png"
        raise UnsupportedError("samples_format", f"{form} of {of}{width}x{height} pixels", allowed)


def _png_text(parameters: str | None) -> PngImagePlugin.PngInfo:
    """tEXt, or iTXt where the parameters are not Latin-1."""
    text = PngImagePlugin.PngInfo()
    if parameters is not None:
        text.add_text(PARAMETERS, parameters)
    return text


def _exif(parameters: str | None) -> bytes:
    if parameters is None:
        return b""
    text = parameters.encode("utf-16-be", errors="replace")[: _MOST_EXIF_TEXT // 2 * 2]
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + text
    return exif.tobytes()


def decode(
    data: bytes, *, max_pixels: int, background: tuple[int, int, int] | None = (255, 255, 255)
) -> Pixels:
    """The picture in a file, upright, 8 bits a channel; of an animation the first frame.

    What is transparent is laid on `background`; None: a picture with an alpha channel keeps it. Raises
    `TooManyPixels` before anything is decoded, `NotAPicture` for everything else that is wrong with it.
    """
    image = _open(data, max_pixels)
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    image = image.convert("RGBA")
    if background is None:
        return np.array(image)
    return flatten(np.array(image), background)


def flatten(pixels: Pixels, background: tuple[int, int, int]) -> Pixels:
    """A picture that may have an alpha channel, laid on one colour: (H, W, 3 or 4) -> (H, W, 3)."""
    if pixels.shape[2] == 3:
        return pixels
    image = Image.new("RGBA", (pixels.shape[1], pixels.shape[0]), (*background, _OPAQUE))
    image.alpha_composite(Image.fromarray(pixels))
    return np.array(image.convert("RGB"))


def decode_mask(data: bytes, *, max_pixels: int, binary: bool = True) -> Grey:
    """The mask in a file: its alpha channel where one is used, else its brightness. Errors as `decode`.

    `binary`: an alpha channel is taken as masked or not, with nothing in between (A1111's mask_round).
    """
    image = _open(data, max_pixels)
    if image.has_transparency_data:
        alpha = np.array(image.convert("RGBA"))[..., 3]
        if alpha.min() < _OPAQUE:
            return np.where(alpha > _OPAQUE // 2 + 1, _OPAQUE, 0).astype(np.uint8) if binary else alpha
    return np.array(image.convert("L"))


def count_pixels(data: bytes) -> int:
    """Pixels of the picture in a file, as its header says; raises as `read_size`."""
    width, height = read_size(data)
    return width * height


def read_size(data: bytes) -> resizing.Size:
    """Width and height of the picture in a file, as its header says, before it is turned upright. Errors as
    `decode`, but none for too many pixels."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels("far more pixels than any picture has") from error
    except Exception as error:
        raise NotAPicture(_UNREADABLE) from error


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if data.startswith(_JPEG) and data.count(_SCAN) > _MOST_SCANS:
        raise NotAPicture(f"a JPEG may have at most {_MOST_SCANS} scans")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        fits = image.width * image.height <= max_pixels
        if fits and max(image.size) <= LONGEST_SIDE:
            return _eight_bits(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(f"more than {max_pixels} pixels") from error
    # Pillow's readers raise whatever their unpacking of spoilt bytes runs into.
    except Exception as error:
        raise NotAPicture(_UNREADABLE) from error
    size = f"{image.width}x{image.height} pixels"
    if fits:
        raise TooManyPixels(f"{size}: a side is longer than {LONGEST_SIDE}")
    raise TooManyPixels(f"{size} are more than {max_pixels}")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits would be clipped, not scaled, on conversion."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def read_metadata(data: bytes) -> Metadata:
    """What a picture file says of itself; only its header is read, no pixel is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            items = {str(key): _text(value) for key, value in image.info.items() if key not in _FILE_FACTS}
            comment = _user_comment(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels("far more pixels than any picture has") from error
    # As above: struct.error, IndexError, KeyError, …, and all of it means the same.
    except Exception as error:
        raise NotAPicture("not a picture of a known format") from error
    parameters = items.pop(PARAMETERS, "")
    if comment:
        items["exif comment"] = comment
        parameters = comment
    if image.format == "GIF" and "comment" in items:
        parameters = items["comment"]
    return Metadata(parameters or novelai.parameters(items, image.size), items)


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _user_comment(image: Image.Image) -> str:
    """EXIF UserComment: eight bytes name the encoding, the rest is the text."""
    # Not image.getexif(): of a PNG without EXIF it decodes the pixels, to look behind them.
    value = Image.Image.getexif(image).get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(value, bytes) or len(value) <= 8:
        return ""
    kind, text = value[:8], value[8:]
    if kind.startswith(b"UNICODE"):
        # The specification leaves the byte order open; writers of such comments use big-endian, some with a
        # mark.
        encoding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-be"
        return text.decode(encoding, errors="replace")
    return text.decode("utf-8", errors="replace").rstrip("\0")
