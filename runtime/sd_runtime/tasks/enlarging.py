"""Pictures and latents to another size, in the ways that A1111 names.

Importing it does not import torch.
"""

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from sd_runtime.engine.work import Host, Pixels, Upscale, Work
from sd_runtime.images import resizing
from sd_runtime.images.resizing import Size
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


def enlarge(pixels: Pixels, size: Size, upscaler: Upscaler | None) -> Generator[Work, Any, Pixels]:
    """A picture of this size: by the upscaler's network while it is too small, and by resampling for the
    rest."""
    if upscaler is not None and upscaler.path is not None:
        for _ in range(_MOST_RUNS):
            if pixels.shape[1] >= size[0] and pixels.shape[0] >= size[1]:
                break
            before = pixels.shape
            pixels = yield Upscale(upscaler.path, pixels, upscaler.tile, upscaler.overlap)
            if pixels.shape == before:
                break
    resample = resizing.nearest if upscaler is not None and upscaler.name == "Nearest" else resizing.lanczos
    resized: Pixels = yield Host(partial(resample, pixels, size))
    return resized


def enlarge_latents(latents: "torch.Tensor", size: Size, name: str) -> "torch.Tensor":
    """Latents (1, C, H, W) of this width and height, in one of the ways of `LATENT`."""
    from torch.nn import functional

    mode, antialias = LATENT[name]
    return functional.interpolate(latents, size=size[::-1], mode=mode, antialias=antialias)
