"""Pictures to other sizes, by resampling and by cutting or continuing their edges. Arrays are (height, width)
or (height, width, channels), 8 bits; sizes are (width, height)."""

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]
Size = tuple[int, int]


def size_of(pixels: Bytes) -> Size:
    """Width and height."""
    return pixels.shape[1], pixels.shape[0]


def lanczos(pixels: Bytes, size: Size) -> Bytes:
    """Resampled with Lanczos' window."""
    return _resample(pixels, size, Image.Resampling.LANCZOS)


def nearest(pixels: Bytes, size: Size) -> Bytes:
    """Each pixel that of the source which is nearest."""
    return _resample(pixels, size, Image.Resampling.NEAREST)


def _resample(pixels: Bytes, size: Size, how: Image.Resampling) -> Bytes:
    return pixels if size_of(pixels) == size else np.array(Image.fromarray(pixels).resize(size, how))


def covering(source: Size, target: Size) -> Size:
    """The size of `source`'s proportions that covers `target`: one side is the same, the other no shorter."""
    if target[0] * source[1] > source[0] * target[1]:
        return target[0], max(source[1] * target[0] // source[0], target[1])
    return max(source[0] * target[1] // source[1], target[0]), target[1]


def within(source: Size, target: Size) -> Size:
    """The size of `source`'s proportions that fits `target`: one side is the same, the other no longer."""
    if target[0] * source[1] < source[0] * target[1]:
        return target[0], max(source[1] * target[0] // source[0], 1)
    return max(source[0] * target[1] // source[1], 1), target[1]


def centre(pixels: Bytes, size: Size) -> Bytes:
    """A picture in the middle of another size: what stands out is cut, what is free is filled with the
    nearest pixel of its edges."""
    for axis, (there, wanted) in enumerate(zip(size_of(pixels)[::-1], size[::-1], strict=True)):
        offset = wanted // 2 - there // 2
        kept = range(max(-offset, 0), min(wanted - offset, there))
        before = max(offset, 0)
        pixels = pixels.take(kept, axis)
        pads = [
            (before, wanted - before - len(kept)) if other == axis else (0, 0) for other in range(pixels.ndim)
        ]
        pixels = np.pad(pixels, pads, mode="edge")
    return pixels


def crop(pixels: Bytes, size: Size) -> Bytes:
    """Resampled to cover the size, and cut (A1111's resize mode 1)."""
    return centre(lanczos(pixels, covering(size_of(pixels), size)), size)


def fill(pixels: Bytes, size: Size) -> Bytes:
    """Resampled to fit into the size, its edges continued to fill it (A1111's resize mode 2)."""
    return centre(lanczos(pixels, within(size_of(pixels), size)), size)
