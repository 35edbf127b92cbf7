"""What a picture is drawn by besides its prompt: a ControlNet, the map it is shown, and how much it says when
and where. Plain data, importable without torch.

A map is made when it is needed, by whoever knows how (`Hint`), and once for all pictures of a request; so it
is brought to a size. Knows neither the network nor who makes maps.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError
from sd_runtime.images.resizing import Size
from sd_runtime.tasks import control_maps
from sd_runtime.tasks.recipe import Grey, ResizeMode

T = TypeVar("T")

#: sd-webui-controlnet's.
_MOST_VARIATION, _MOST_SHARPNESS = 32, 2


class ControlMode(IntEnum):
    """Who has the last word, with sd-webui-controlnet's numbers.

    `BALANCED`: the whole weight on every layer, for the prompt and the negative prompt alike. `PROMPT` ("My
    prompt is more important"): the less of it the finer a layer is, 0.825 for each of the steps between a
    layer and the middle of the network. `CONTROL` ("ControlNet is more important"): so, too, and for the
    prompt alone, so that guidance multiplies what the ControlNet changes.
    """

    BALANCED = 0
    PROMPT = 1
    CONTROL = 2


class Once(Generic[T]):
    """Something that is made at the first question; any thread."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._error: Exception | None = None
        #: It, once it is there.
        self.made: T | None = None

    def get(self) -> T:
        """Waits while another thread makes it. What making it raised is raised again, and it is not tried
        twice."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self.made is None:
                try:
                    self.made = self._make()
                except Exception as error:
                    self._error = error
                    raise
            return self.made


class Hint(Once[Pixels]):
    """A control map, made for all pictures of a request. Those of one `lane` are made few at a time."""

    def __init__(self, make: Callable[[], Pixels], lane: str | None = None) -> None:
        super().__init__(make)
        self.lane = lane
        self._fits: dict[object, Once[Any]] = {}

    def fit(self, key: object, make: Callable[[], T]) -> Once[T]:
        """What is made of the map; the same for all who ask by this key."""
        # Of two threads at once both get the first one's.
        return self._fits.setdefault(key, Once(make))


class Fitted(NamedTuple):
    """A map at the size of what is drawn, and what of it is hidden."""

    pixels: Pixels
    blank: Grey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourFix:
    """A picture keeps the low frequencies of its control map, which is a picture, too (see
    `tasks/colour_fix.py`). Judged on construction, by the names that requests have (`UnsupportedError`)."""

    #: How far colours may stray: in latents, to each side, within which their mean is kept.
    variation: int = 8
    #: Percent by which what guidance leads away from is blurred, so that guidance sharpens.
    sharpness: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.variation <= _MOST_VARIATION:
            raise UnsupportedError("threshold_a", self.variation, f"1 to {_MOST_VARIATION} (variation)")
        if not 0 <= self.sharpness <= _MOST_SHARPNESS:
            raise UnsupportedError("threshold_b", self.sharpness, f"0 to {_MOST_SHARPNESS} (sharpness)")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Control:
    """A ControlNet for a picture. What can be judged without the network is checked on construction
    (`UnsupportedError`).

    It takes part in a step where that lies within `start` and `end` as a whole: in step i of n, counted from
    0, where start <= i / n and (i + 1) / n <= end (diffusers' control_guidance_start and _end; A1111's
    extension agrees where they are 0 and 1, and is a step late elsewhere, where it looks at the step before).
    Where no step does, in the one in which `start` lies: never asked for in vain.
    """

    network: Path
    #: The map, RGB: shown to the network as 0 to 1.
    hint: Hint
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: ControlMode = ControlMode.BALANCED
    #: How a map of other proportions becomes one of the picture's.
    resize_mode: ResizeMode = ResizeMode.CROP
    #: Whether it takes part in the pass at the first size, and in that of hires fix.
    first_pass: bool = True
    second_pass: bool = True
    #: In the second pass the layers are weighed as by `ControlMode.PROMPT` in any mode, as
    #: sd-webui-controlnet does with maps of thin lines (canny, mlsd).
    soft_second_pass: bool = False
    #: Where it has an effect: white; stretched to the picture, and cut as that is where only a part of it is
    #: drawn. None: everywhere.
    mask: Grey | None = None
    #: What a network for inpainting is not shown, white: there it sees -1 in place of the map. It lies on the
    #: map, of whatever size.
    blank: Grey | None = None
    #: What it does to colours besides, by the same weight, steps and mask; None: nothing.
    colour_fix: ColourFix | None = None
    #: What a request calls the network, for what is wrong with its file.
    field: str = "model"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise UnsupportedError("weight", self.weight, "0 or more")
        for field, share in (("guidance_start", self.start), ("guidance_end", self.end)):
            if not 0 <= share <= 1:
                raise UnsupportedError(field, share, "0 to 1, a share of the steps")
        if self.start > self.end:
            raise UnsupportedError("guidance_start", self.start, f"at most guidance_end, {self.end}")
        if self.resize_mode is ResizeMode.LATENT:
            raise UnsupportedError("resize_mode", int(self.resize_mode), "0, 1 and 2 for a control map")

    def takes_part(self, step: int, steps: int) -> bool:
        """Whether it has a say in this step, counted from 0, of so many. One of an adaptive sampler that took
        more is like the last."""
        step = min(step, steps - 1)
        if self.weight == 0 or self._holds(step, steps):
            return self.weight > 0
        begins = step == min(int(self.start * steps), steps - 1)
        return begins and not any(self._holds(each, steps) for each in range(steps))

    def _holds(self, step: int, steps: int) -> bool:
        return self.start <= step / steps and (step + 1) / steps <= self.end

    def fitted(self, size: Size) -> Once[Fitted]:
        """The map, which has been made, at this size: once for all pictures and passes that have it, and for
        the answer."""
        # Of what is asked for nothing refers to the hint, so that maps are gone as soon as their request is.
        make = partial(_fitted, self.hint.get(), self.blank, size, self.resize_mode)
        return self.hint.fit((size, self.resize_mode, id(self.blank)), make)


def _fitted(pixels: Pixels, blank: Grey | None, size: Size, mode: ResizeMode) -> Fitted:
    return Fitted(
        control_maps.fit(pixels, size, mode),
        None if blank is None else control_maps.fit_blank(blank, size, mode),
    )
