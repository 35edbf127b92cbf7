"""Pictures that come with a request: base64, a data: URI, or, where the settings allow it, a URL.

Everything that is wrong with one is refused under the field's name. Pictures larger than one may be are
refused before they are decoded, and decoded they count among those that all requests hold.
"""

import asyncio
import binascii
import string
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sd_runtime.errors import UnsupportedError
from sd_runtime.images import codec
from sd_runtime.images.codec import Grey, Metadata, Pixels
from sd_runtime.images.resizing import Size
from sd_runtime.routes import picture_urls
from sd_runtime.routes.intake import Held
from sd_runtime.routes.picture_urls import FetchError
from sd_runtime.routes.services import Services

_ENCODED = "a base64 encoded PNG, JPEG, WebP or GIF, also as a data: URI"
Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
#: Of a picture's text in an error message.
_SHOWN = 40
#: Of base64 that is decoded in one go.
_SLICE = 1024 * 1024
_WHITESPACE = string.whitespace.encode()

Decoded = TypeVar("Decoded")


async def pixels(
    services: Services, field: str, value: str, held: Held, *, background: Colour | None = WHITE
) -> Pixels:
    """The picture as RGB, what is transparent laid on `background`; None: with its alpha channel, if it has
    one. Raises `UnsupportedError`, and `Full` where others hold too many pixels."""
    decode = partial(codec.decode, max_pixels=_most(services), background=background)
    return await _decoded(services, field, value, decode, held)


async def mask(services: Services, field: str, value: str, held: Held, *, binary: bool = True) -> Grey:
    """The picture as a mask, one value a pixel (`codec.decode_mask`); raises as `pixels`."""
    decode = partial(codec.decode_mask, max_pixels=_most(services), binary=binary)
    return await _decoded(services, field, value, decode, held)


async def with_metadata(services: Services, field: str, value: str, held: Held) -> tuple[Pixels, Metadata]:
    """The picture as RGB, and the text in its file; raises as `pixels`."""
    most = _most(services)
    return await _decoded(
        services,
        field,
        value,
        lambda data: (codec.decode(data, max_pixels=most), codec.read_metadata(data)),
        held,
    )


async def metadata(services: Services, field: str, value: str) -> Metadata:
    """The text in the picture's file; raises `UnsupportedError`."""
    return await _decoded(services, field, value, codec.read_metadata)


async def size(services: Services, field: str, value: str) -> Size | None:
    """Width and height of the picture, as its file's header says, before it is turned upright; None of one
    that is yet to be fetched. Raises `UnsupportedError`."""
    return None if _is_url(value) else await _decoded(services, field, value, codec.read_size)


def _most(services: Services) -> int:
    """Pixels of one picture."""
    return min(services.settings.max_input_pixels, services.settings.max_pixels_per_request)


async def _decoded(
    services: Services,
    field: str,
    value: str,
    decode: Callable[[bytes], Decoded],
    held: Held | None = None,
) -> Decoded:
    data = await _data(services, field, value)
    try:
        if held is None:
            return await asyncio.to_thread(decode, data)
        count = await asyncio.to_thread(codec.count_pixels, data)
        if count <= _most(services):  # else it is refused before there are any
            await held.take(count)
        async with services.intake.decoding:
            return await asyncio.to_thread(decode, data)
    except codec.NotAPicture as error:
        raise UnsupportedError(field, _shown(value), f"{_ENCODED}: {error}") from error


async def _data(services: Services, field: str, value: str) -> bytes:
    if _is_url(value):
        async with services.intake.fetching:
            return await _fetched(services, field, value)
    try:
        return await asyncio.to_thread(_unwrapped, value)
    except ValueError as error:
        raise UnsupportedError(field, _shown(value), _ENCODED) from error


def _is_url(value: str) -> bool:
    return value[:8].lower().startswith(("http://", "https://"))


async def _fetched(services: Services, field: str, url: str) -> bytes:
    settings = services.settings
    if settings.image_urls != "on":
        raise UnsupportedError(field, _shown(url), f"{_ENCODED}; URLs are not fetched (SD_IMAGE_URLS is off)")
    try:
        return await picture_urls.fetch(url, max_bytes=settings.max_body_bytes)
    except FetchError as error:
        raise UnsupportedError(field, _shown(url), f"URLs of pictures on public hosts: {error}") from error


def _unwrapped(value: str) -> bytes:
    """The bytes behind base64; raises ValueError."""
    if value[:5].lower() == "data:":
        head, _, value = value.partition(",")
        if not head.lower().endswith(";base64"):
            raise ValueError("a data: URI of another encoding")
    data = _decoded_slices(value)
    if not data:
        raise ValueError("empty")
    return data


def _decoded_slices(text: str) -> bytes:
    """The bytes behind base64. Slice by slice: each call keeps all other threads from running."""
    data, rest, ended = bytearray(), b"", False
    for start in range(0, len(text), _SLICE):
        # Some clients break their lines, as mail does.
        part = rest + text[start : start + _SLICE].encode("ascii").translate(None, _WHITESPACE)
        if ended and part:
            raise ValueError("something follows the end of the base64")
        whole = len(part) // 4 * 4
        data += binascii.a2b_base64(part[:whole], strict_mode=True)
        ended, rest = ended or part[:whole].endswith(b"="), part[whole:]
    # Some write an end also where none is needed.
    if rest and (ended or rest.strip(b"=")):
        raise ValueError("the base64 is cut off")
    return bytes(data)


def _shown(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
