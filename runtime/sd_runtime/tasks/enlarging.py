"""Pictures and latents to another size, in the ways that A1111 names.

Importing it does not import torch.
"""

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from sd_runtime.engine.work import Apart, Host, Pixels, Upscale, Work
from sd_runtime.images import resizing
from sd_runtime.images.resizing import Box, Size
from sd_runtime.tasks.recipe import Upscaler

if TYPE_CHECKING:
    import torch

#: Ways to enlarge a picture without a network.
PLAIN = ("None", "Lanczos", "Nearest")
#: Ways to enlarge latents: torch's mode, and whether it looks at the whole area that becomes a pixel.
LATENT = {
    "Latent": ("bilinear", False),
    "Latent (antialiased)": ("bilinear", True),
    "Latent (bicubic)": ("bicubic", False),
    "Latent (bicubic antialiased)": ("bicubic", True),
    "Latent (nearest)": ("nearest", False),
    "Latent (nearest-exact)": ("nearest-exact", False),
}
#: A network is run again on its own result, so often, until that is large enough (A1111's limit).
_MOST_RUNS = 3
#: What a network is shown around the part that is wanted, in pixels: more than two tiles of it share.
_AROUND = 64
#: A side that is so many times as long as it is to be, while the other one is still too short, is shortened
#: before a network makes it longer still.
_FAR = 2
#: In pixels: a part's side is a quotient, and no pixel is missing where its last digit is.
_CLOSE = 1e-3


def enlarge(pixels: Pixels, size: Size, upscaler: Upscaler | None) -> Generator[Work, Any, Pixels]:
    """A picture of this size: by the upscaler's network or plugin while it is too small, and by resampling
    for the rest."""
    return (yield from _resized(pixels, resizing.whole(pixels), size, upscaler))


def cover(pixels: Pixels, size: Size, upscaler: Upscaler | None) -> Generator[Work, Any, Pixels]:
    """As `enlarge`, in the picture's own proportions, and cut where it would be larger (A1111's resize mode
    1). What is cut in the end is not enlarged: of a long picture that may be nearly all."""
    box = resizing.middle(resizing.size_of(pixels), size)
    return (yield from _resized(pixels, box, size, upscaler))


def _resized(pixels: Pixels, box: Box, size: Size, upscaler: Upscaler | None) -> Generator[Work, Any, Pixels]:
    """What is in the box, at this size."""
    if upscaler is not None and not upscaler.is_plain:
        for _ in range(_MOST_RUNS):
            if _is_covered(size, box):
                break
            pixels, box = resizing.cut(pixels, box, _AROUND)
            if _is_far_longer(box, size):
                pixels, box = yield Host(partial(_shortened, pixels, box, size))
            before = resizing.size_of(pixels)
            pixels = yield _through(upscaler, pixels)
            zoom = pixels.shape[1] / before[0]
            box = box.scaled(zoom, zoom)
            if zoom == 1:
                break
    resample = resizing.nearest if upscaler is not None and upscaler.name == "Nearest" else resizing.lanczos
    resized: Pixels = yield Host(partial(resample, pixels, size, box))
    return resized


def _through(upscaler: Upscaler, pixels: Pixels) -> Work:
    """The work that makes a picture larger by the upscaler's own factor."""
    if upscaler.plugin is not None:
        call = partial(upscaler.plugin, pixels)
        return Apart(call, key=call, lane=upscaler.lane)
    assert upscaler.path is not None, "those that only resample have no factor"
    return Upscale(upscaler.path, pixels, upscaler.tile, upscaler.overlap)


def _is_covered(size: Size, box: Box) -> bool:
    return all(side >= wanted - _CLOSE for side, wanted in zip(box.size, size, strict=True))


def _is_far_longer(box: Box, size: Size) -> bool:
    return any(side > _FAR * wanted for side, wanted in zip(box.size, size, strict=True))


def _shortened(pixels: Pixels, box: Box, size: Size) -> tuple[Pixels, Box]:
    """The picture without the length that would be thrown away in the end, and which a network would make
    longer first."""
    own = resizing.size_of(pixels)
    width, height = (
        max(round(there * wanted / side), 1) if side > _FAR * wanted else there
        for there, side, wanted in zip(own, box.size, size, strict=True)
    )
    return resizing.lanczos(pixels, (width, height)), box.scaled(width / own[0], height / own[1])


def enlarge_latents(latents: "torch.Tensor", size: Size, name: str) -> "torch.Tensor":
    """Latents (1, C, H, W) of this width and height, in one of the ways of `LATENT`."""
    from torch.nn import functional

    mode, antialias = LATENT[name]
    return functional.interpolate(latents, size=size[::-1], mode=mode, antialias=antialias)
