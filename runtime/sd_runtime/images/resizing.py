"""Pictures to other sizes, by resampling and by cutting or continuing their edges, in memory that grows with
the larger of source and result only, whatever their shapes. Arrays are (height, width) or (height, width,
channels), 8 bits; sizes are (width, height)."""

from math import ceil, floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]
Size = tuple[int, int]

#: No picture is longer, and each pixel of a side takes tens of bytes in resampling.
LONGEST_SIDE = 2**16


class Box(NamedTuple):
    """A part of a picture, in pixels and parts of them; right and bottom are outside of it."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def scaled(self, across: float, down: float) -> "Box":
        """The same part of a picture that is so many times as wide and as high."""
        return Box(self.left * across, self.top * down, self.right * across, self.bottom * down)


def size_of(pixels: Bytes) -> Size:
    """Width and height."""
    return pixels.shape[1], pixels.shape[0]


def lanczos(pixels: Bytes, size: Size, box: Box | None = None) -> Bytes:
    """Resampled with Lanczos' window; with a box that part of the picture, what lies around it seen too, as
    if it were cut from the whole afterwards."""
    # Pillow (13) begins with the axis that leaves less in between, so that no shape takes much memory.
    return _resample(pixels, size, Image.Resampling.LANCZOS, box)


def nearest(pixels: Bytes, size: Size, box: Box | None = None) -> Bytes:
    """Each pixel that of the source, or of the part in the box, which is nearest."""
    return _resample(pixels, size, Image.Resampling.NEAREST, box)


def _resample(pixels: Bytes, size: Size, how: Image.Resampling, box: Box | None) -> Bytes:
    box = box or whole(pixels)
    if size == size_of(pixels) and box == whole(pixels):
        return pixels
    return np.array(Image.fromarray(pixels).resize(size, how, box))


def whole(pixels: Bytes) -> Box:
    """All of a picture."""
    return Box(0, 0, *size_of(pixels))


def covering(source: Size, target: Size) -> Size:
    """The size of `source`'s proportions that covers `target`: one side is the same, the other no shorter."""
    if target[0] * source[1] > source[0] * target[1]:
        return target[0], max(source[1] * target[0] // source[0], target[1])
    return max(source[0] * target[1] // source[1], target[0]), target[1]


def middle(source: Size, target: Size) -> Box:
    """The part of a picture that is left when it is resampled to cover the target and cut to it."""
    sides = [
        _kept(own, larger, wanted)
        for own, larger, wanted in zip(source, covering(source, target), target, strict=True)
    ]
    (left, right), (top, bottom) = sides
    # What rounding has put beyond the edge is beyond it for Pillow too.
    return Box(left, top, min(right, source[0]), min(bottom, source[1]))


def _kept(own: int, larger: int, wanted: int) -> tuple[float, float]:
    """Along one axis: what `centre` keeps, in pixels of the source."""
    start = larger // 2 - wanted // 2
    return start * own / larger, (start + wanted) * own / larger


def cut(pixels: Bytes, box: Box, margin: int) -> tuple[Bytes, Box]:
    """The picture without what lies farther than `margin` pixels from the box, and where the box is in it."""
    width, height = size_of(pixels)
    left, top = max(floor(box.left) - margin, 0), max(floor(box.top) - margin, 0)
    right, bottom = min(ceil(box.right) + margin, width), min(ceil(box.bottom) + margin, height)
    placed = Box(box.left - left, box.top - top, box.right - left, box.bottom - top)
    return pixels[top:bottom, left:right], placed


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
    return lanczos(pixels, size, middle(size_of(pixels), size))


def fill(pixels: Bytes, size: Size) -> Bytes:
    """Resampled to fit into the size, its edges continued to fill it (A1111's resize mode 2)."""
    return centre(lanczos(pixels, within(size_of(pixels), size)), size)
