"""Pictures' files as their headers show them: whether one can be read, and is no larger than the interface
takes. Judged before any of it is decoded: a file of some hundred KB can hold gigabytes of pixels.

Knows neither components nor sentences.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from PIL import Image

#: Those that the interface reads; Pillow would try many more.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
#: Of the Orientation in EXIF: from this value on width and height are the other way round.
_ORIENTATION, _TURNED = 0x0112, 5


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a file cannot be used: the key of the sentence that says so, and what stands in it."""

    key: str
    values: dict[str, int] = field(default_factory=dict)


class Unusable(Exception):
    """A picture that is needed is not there, or cannot be used: its field, and what is wrong."""

    def __init__(self, field: str, key: str, **values: int) -> None:
        super().__init__(f"{field}: {key}")
        self.field = field
        self.key = key
        self.values = values


def size_of(path: str) -> tuple[int, int]:
    """Width and height of the picture, upright, by its header alone. Raises `OSError`: it is none; and
    Pillow's errors of far too many pixels."""
    with Image.open(path, formats=_FORMATS) as picture:
        width, height = picture.size
        # Not a PNG's own, which decodes the pixels to look for it behind them.
        turned = Image.Image.getexif(picture).get(_ORIENTATION, 1) >= _TURNED
    return (height, width) if turned else (width, height)


def wrong_with(path: str, most: int | None) -> Wrong | None:
    """What is wrong with a file; None: nothing. `most`: the pixels that a picture may have; None: as many as
    it likes, where nothing of them is decoded."""
    try:
        width, height = size_of(path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None if most is None else Wrong("far_too_many_pixels", {"most": most})
    except Exception:  # noqa: BLE001 - Pillow's readers raise whatever they run into in spoilt bytes
        return Wrong("not_a_picture")
    if most is not None and width * height > most:
        return Wrong("too_many_pixels", {"width": width, "height": height, "most": most})
    return None


def judge(files: Iterable[tuple[str, str]], most: int) -> None:
    """Fields, and the file of each. Raises `Unusable` of the first that cannot be used."""
    for name, path in files:
        wrong = wrong_with(path, most)
        if wrong is not None:
            raise Unusable(name, wrong.key, **wrong.values)
