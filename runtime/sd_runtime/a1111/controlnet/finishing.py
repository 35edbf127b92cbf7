"""What some modules do to a picture once it is drawn: lay the original over what was not to change, or give
it the original's light. Not for the event loop."""

from enum import Enum

import numpy as np
from PIL import Image, ImageFilter

from sd_runtime.engine.work import Pixels
from sd_runtime.images import colours, masks, resizing
from sd_runtime.tasks.control import Control
from sd_runtime.tasks.recipe import Grey

#: Pixels by which a mask is widened and softened (sd-webui-controlnet's, an option there).
SOFT_EDGE = 7


class Finish(Enum):
    """Which of them."""

    NOTHING = "nothing"
    #: What is not masked is the map's, which is the original.
    PASTE = "paste"
    #: The map is the lightness (L of L*a*b*), or the brightest channel (V of HSV).
    LIGHTNESS = "lightness"
    VALUE = "value"


_OF_MODULES = {
    "inpaint_only": Finish.PASTE,
    "recolor_luminance": Finish.LIGHTNESS,
    "recolor_intensity": Finish.VALUE,
}


def of(module: str) -> Finish:
    """That of the module with this name."""
    return _OF_MODULES.get(module, Finish.NOTHING)


def finished(pixels: Pixels, control: Control, finish: Finish) -> Pixels:
    """The picture as it is sent; as it was drawn where there was no map yet."""
    if control.hint.made is None or finish is Finish.NOTHING:
        return pixels
    shown, blank = control.fitted(resizing.size_of(pixels)).get()
    if finish is Finish.LIGHTNESS:
        return colours.with_lightness(pixels, shown[..., 0])
    if finish is Finish.VALUE:
        return colours.with_value(pixels, shown[..., 0])
    assert blank is not None
    return masks.overlay(pixels, shown, _softened(blank))


def _softened(mask: Grey) -> Grey:
    wide = Image.fromarray(mask).filter(ImageFilter.MaxFilter(SOFT_EDGE))
    return np.asarray(wide.filter(ImageFilter.BoxBlur(SOFT_EDGE // 2)))
