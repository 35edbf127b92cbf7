"""The pictures beside model files, as small as cards show them. What lies there may be anything: it is read
within bounds, decoded, and written anew."""

from functools import lru_cache
from pathlib import Path

from sd_runtime.images import codec, resizing
from sd_runtime.models.digests import FileKey, key_of

MEDIA_TYPE = "image/jpeg"
#: Of a picture's longer side.
SIDE = 512
_MOST_BYTES = 16 * 1024 * 1024
_MOST_PIXELS = 16 * 1024 * 1024
_QUALITY = 85
#: About 60 KiB each.
_KEPT = 256


def version(path: Path) -> str:
    """Another one whenever the picture is; raises OSError."""
    return "-".join(f"{number:x}" for number in key_of(path.stat()))


def small(path: Path) -> bytes:
    """The picture as a JPEG whose sides are at most `SIDE`. Raises OSError, and `codec.NotAPicture` for what
    is none, or too large."""
    return _small(path, key_of(path.stat()))


@lru_cache(maxsize=_KEPT)
def _small(path: Path, key: FileKey) -> bytes:
    if not path.is_file() or key[2] > _MOST_BYTES:
        raise codec.TooManyPixels(f"no file of at most {_MOST_BYTES} bytes")
    with path.open("rb") as file:
        pixels = codec.decode(file.read(_MOST_BYTES), max_pixels=_MOST_PIXELS)
    size = resizing.size_of(pixels)
    if max(size) > SIDE:
        pixels = resizing.lanczos(pixels, resizing.within(size, (SIDE, SIDE)))
    return codec.encode(pixels, "jpg", None, quality=_QUALITY)
