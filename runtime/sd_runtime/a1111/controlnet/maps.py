"""The maps of a request's units, as they are added to its answer: at the size at which the network saw them.
Not for the event loop."""

from collections.abc import Sequence

import numpy as np

from sd_runtime.a1111.controlnet.deciding import Decided
from sd_runtime.engine.work import Pixels
from sd_runtime.images.resizing import Size
from sd_runtime.tasks.control import Control


def pixels_of(decided: Sequence[Decided], *, are_shown: bool) -> int:
    """How many the maps will have together, as they are made and as they are shown."""
    made = sum(pixels for each in decided for pixels in each.pixels)
    shown = sum(
        width * height * len(each.controls)
        for each in decided
        if each.unit.save_detected_map
        for width, height in each.sizes
    )
    return made + shown if are_shown else made


def shown(decided: Sequence[Decided]) -> list[Pixels]:
    """Unit by unit, of a set picture by picture, with hires fix the larger one first; those that were not
    made, as the request ended before, are left out."""
    return [
        _shown(control, size)
        for each in decided
        if each.unit.save_detected_map
        for control in each.controls
        if control.hint.made is not None
        for size in each.sizes
    ]


def _shown(control: Control, size: Size) -> Pixels:
    pixels, blank = control.fitted(size).get()
    # Half as bright where the network is not shown it.
    return pixels if blank is None else np.where(blank[..., None] > 0, pixels // 2, pixels)
