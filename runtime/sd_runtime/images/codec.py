"""Arrays to PNG bytes with the generation parameters inside, and the parameters out of a picture file again.

The key and the places are A1111's: PNG text `parameters`, EXIF UserComment, GIF comment. What the parameters
mean is not known here.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin

PARAMETERS = "parameters"
#: Pillow reads many more, each of them code that would stand open to whatever a client sends.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

#: What Pillow tells of the file itself, not text that somebody put into it.
_FILE_FACTS = {
    *("jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression", "photoshop"),
    *("dpi", "exif", "icc_profile", "gamma", "srgb", "chromaticity", "transparency", "interlace"),
    *("loop", "background", "timestamp", "duration", "version"),
}


class NotAPicture(ValueError):
    """The bytes are not a picture of a known format."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The text in a picture file: the generation parameters ("" when there are none), and everything else."""

    parameters: str
    items: dict[str, str]


def encode_png(pixels: npt.NDArray[np.uint8], parameters: str) -> bytes:
    """The picture as PNG; the parameters are tEXt, or iTXt where they are not Latin-1."""
    text = PngImagePlugin.PngInfo()
    text.add_text(PARAMETERS, parameters)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=text)
    return buffer.getvalue()


def read_metadata(data: bytes) -> Metadata:
    """What a picture file says of itself; only its header is read, no pixel is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            items = {str(key): _text(value) for key, value in image.info.items() if key not in _FILE_FACTS}
            comment = _user_comment(image)
    # Pillow's readers raise whatever their unpacking of spoilt bytes runs into (struct.error, IndexError,
    # KeyError, …), and all of it means the same.
    except Exception as error:
        raise NotAPicture("not a picture of a known format") from error
    parameters = items.pop(PARAMETERS, "")
    if comment:
        items["exif comment"] = comment
        parameters = comment
    if image.format == "GIF" and "comment" in items:
        parameters = items["comment"]
    return Metadata(parameters, items)


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _user_comment(image: Image.Image) -> str:
    """EXIF UserComment: eight bytes name the encoding, the rest is the text."""
    value = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(value, bytes) or len(value) <= 8:
        return ""
    kind, text = value[:8], value[8:]
    if kind.startswith(b"UNICODE"):
        # The specification leaves the byte order open; writers of such comments use big-endian, some with a
        # mark.
        encoding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-be"
        return text.decode(encoding, errors="replace")
    return text.decode("utf-8", errors="replace").rstrip("\0")
