"""Pictures to the size that a module works at: the shorter side as long as `resolution` says, the proportions
kept. Sizes are (height, width), as arrays have them."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from sd_plugin.contract import MOST_PIXELS, RESOLUTION, Parameter
from sd_plugin.errors import InvalidParameter
from sd_plugin.module import Grey, Pixels

#: No map has a longer side: OpenCV takes 32766 pixels, and nobody draws such a picture.
LONGEST_SIDE = 16_384

Size = tuple[int, int]
_Array = TypeVar("_Array", bound=npt.NDArray[np.uint8])


def parameter(default: int = 512, *, minimum: int = 64, maximum: int = 2048) -> Parameter:
    """The parameter `resolution` as every module has it that works at one."""
    return Parameter(
        name=RESOLUTION,
        label="Resolution",
        type="integer",
        default=default,
        minimum=minimum,
        maximum=maximum,
        step=8,
        unit="px",
    )


def size_at(size: Size, resolution: int, most: int = MOST_PIXELS) -> Size:
    """The size with the shorter side `resolution` long. Raises `InvalidParameter` for proportions that would
    make a map longer than `LONGEST_SIDE` or of more than `most` pixels."""
    shorter, longer = min(size), max(size)
    stretched = max(round(longer * resolution / shorter), resolution)
    if stretched > LONGEST_SIDE or stretched * resolution > most:
        allowed = (
            f"proportions whose map at resolution {resolution} has a longer side of at most {LONGEST_SIDE}"
        )
        raise InvalidParameter("image", f"{size[1]}x{size[0]}", f"{allowed} and {most} pixels at most")
    return (resolution, stretched) if size[0] <= size[1] else (stretched, resolution)


def resized(image: _Array, size: Size) -> _Array:
    """Resampled to the size: areas averaged where it shrinks, cubic where it grows. (H, W, 3) or (H, W)."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    shrinks = size[0] * size[1] < height * width
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(image).resize(size[::-1], how))  # type: ignore[return-value]


def at_resolution(image: _Array, resolution: float, most: int = MOST_PIXELS) -> _Array:
    """The picture with its shorter side `resolution` long; (H, W, 3) or (H, W). Raises as `size_at`."""
    return resized(image, size_at((image.shape[0], image.shape[1]), int(resolution), most))


@dataclass(frozen=True, slots=True)
class Padded:
    """A picture that a network can take: sides multiples of 64, what was added continues its edges."""

    image: Pixels
    size: Size

    def cut(self, made: _Array) -> _Array:
        """What a network made of `image`, without what was added: of the size before."""
        return made[: self.size[0], : self.size[1]]  # type: ignore[return-value]


def padded(image: Pixels, multiple: int = 64) -> Padded:
    """Continued to the right and downwards until both sides are multiples; see `Padded`."""
    height, width = image.shape[:2]
    below, beside = -height % multiple, -width % multiple
    return Padded(np.pad(image, ((0, below), (0, beside), (0, 0)), mode="edge"), (height, width))


def as_picture(map_: Grey) -> Pixels:
    """A grey map (H, W) as the picture (H, W, 3) that modules answer with."""
    return np.repeat(map_[:, :, None], 3, axis=2)
