"""A picture made larger, with no prompt and no checkpoint: by an upscaler's network or by resampling.

Knows nothing of HTTP and devices: it yields work and is sent the answers. Importing it does not import torch.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_runtime.engine.work import Host, Made, OnStep, Pixels, Step, TaskRun, Unneeded, Work
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import resizing
from sd_runtime.images.resizing import Size
from sd_runtime.tasks import enlarging
from sd_runtime.tasks.recipe import Upscaler

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

_LEAVE = "None"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extras:
    """One picture; either `scale` or `size` says how large it becomes. Everything that can be judged is
    checked on construction (`UnsupportedError`).
    """

    image: Pixels
    #: "None" leaves the picture as it is, whatever else is asked for (A1111's).
    upscaler_1: Upscaler
    #: Its result is blended over the first one's.
    upscaler_2: Upscaler | None = None
    visibility_2: float = 0.0
    #: Times as wide and as high.
    scale: float | None = None
    #: Width and height in pixels: the picture becomes so large that it covers them.
    size: Size | None = None
    #: With `size`: cut what stands out where the proportions differ.
    crop: bool = True

    def __post_init__(self) -> None:
        if (self.scale is None) == (self.size is None):
            raise UnsupportedError("scale", self.scale, "a scale or a size, and not both")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise UnsupportedError("upscaling_resize", self.scale, "numbers above 0")
        if self.size is not None:
            for name, side in zip(("upscaling_resize_w", "upscaling_resize_h"), self.size, strict=True):
                if side < 1:
                    raise UnsupportedError(name, side, "1 or more")
        if max(self.enlarged) > resizing.LONGEST_SIDE:
            enlarged, most = "{}x{}".format(*self.enlarged), resizing.LONGEST_SIDE
            raise UnsupportedError("size of the result", enlarged, f"sides of at most {most} pixels")
        if not 0 <= self.visibility_2 <= 1:
            raise UnsupportedError("extras_upscaler_2_visibility", self.visibility_2, "0 to 1")
        for name, upscaler in (("upscaler_1", self.upscaler_1), ("upscaler_2", self.upscaler_2)):
            if upscaler is not None and upscaler.is_plain and upscaler.name not in enlarging.PLAIN:
                raise UnsupportedError(name, upscaler.name, enlarging.PLAIN)

    @property
    def checkpoint(self) -> Unneeded:
        """It has no use for one."""
        return Unneeded.CHECKPOINT

    @property
    def steps(self) -> int:
        """One, for whoever shows progress."""
        return 1

    @property
    def enlarged(self) -> Size:
        """Width and height before anything is cut."""
        width, height = resizing.size_of(self.image)
        if self.size is not None:
            return resizing.covering((width, height), self.size)
        assert self.scale is not None
        return max(int(width * self.scale), 1), max(int(height * self.scale), 1)

    def run(self, model: "Model | None", on_step: OnStep) -> TaskRun:
        """Enlarge, blend, cut."""
        picture = self.image
        if not _leaves(self.upscaler_1):
            picture = yield from self._enlarge()
        on_step(Step(1, 1))
        return Made(picture)

    def _enlarge(self) -> Generator[Work, Any, Pixels]:
        picture = yield from enlarging.enlarge(self.image, self.enlarged, self.upscaler_1)
        if self.upscaler_2 is not None and not _leaves(self.upscaler_2) and self.visibility_2 > 0:
            second = yield from enlarging.enlarge(self.image, self.enlarged, self.upscaler_2)
            picture = yield Host(partial(_blend, picture, second, self.visibility_2))
        if self.size is not None and self.crop:
            picture = yield Host(partial(resizing.centre, picture, self.size))
        return picture


def _leaves(upscaler: Upscaler) -> bool:
    return upscaler.is_plain and upscaler.name == _LEAVE


def _blend(first: Pixels, second: Pixels, visibility: float) -> Pixels:
    mixed = first + (second.astype(np.float32) - first) * np.float32(visibility)
    return mixed.round().astype(np.uint8)
