"""Maps that need no network: what each of this plugin's modules makes of a picture.

A picture is uint8 (H, W, 3), RGB, and so is a map. What each makes is what sd-webui-controlnet's preprocessor
of the same name makes; where that has a published source, it is named.
"""

import zlib
from collections.abc import Callable, Mapping
from math import ceil
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from sd_plugin.contract import RESOLUTION
from sd_plugin.module import Grey, Pixels
from sd_plugin.resolution import as_picture, at_resolution

Parameters = Mapping[str, float]
_Values = npt.NDArray[np.float32]
_Kind = TypeVar("_Kind", np.float32, np.bool_)

_WHITE = 255
#: Of scribble_xdog: the two widths, in pixels at the map's resolution.
_XDOG_SIGMAS = (0.5, 5.0)
#: Of lineart_standard: what is darker than its surroundings of this width is a line.
_LINE_SIGMA = 6.0
#: Differences up to this are paper and not taken for lines in finding how dark lines are.
_PAPER = 8
_FAINTEST_LINE, _LINE_VALUE = 16.0, 127.0
#: Pixels that are computed with as floats at a time: of the largest picture, all would not fit.
_BAND_PIXELS = 1 << 20
#: Of shuffle: pixels between two points of the random field that colours follow.
_SHUFFLE_GRAIN = 256


def canny(image: Pixels, parameters: Parameters) -> Pixels:
    """White edges (J. Canny, A Computational Approach to Edge Detection, 1986): those steeper than the higher
    threshold, and those steeper than the lower that hang together with them."""
    picture = at_resolution(image, parameters[RESOLUTION])
    edges = cv2.Canny(picture, parameters["low_threshold"], parameters["high_threshold"])
    return as_picture(_bytes(edges))


def invert(image: Pixels, parameters: Parameters) -> Pixels:
    """The negative, at the picture's own size."""
    return _bytes(_WHITE - image)


def blur_gaussian(image: Pixels, parameters: Parameters) -> Pixels:
    """Blurred by a Gaussian of `sigma` pixels at the map's resolution."""
    picture = at_resolution(image, parameters[RESOLUTION])
    return _bytes(cv2.GaussianBlur(picture, (0, 0), parameters["sigma"]))


def threshold(image: Pixels, parameters: Parameters) -> Pixels:
    """White where all three colours are above the threshold, black elsewhere."""
    picture = at_resolution(image, parameters[RESOLUTION])
    return _binary(picture.min(axis=2) > parameters["threshold"])


def scribble_xdog(image: Pixels, parameters: Parameters) -> Pixels:
    """White strokes where the picture is darker than its surroundings: the difference of two Gaussians
    (H. Winnemöller, XDoG, 2011), cut at half the threshold."""

    def strokes(band: _Values) -> npt.NDArray[np.bool_]:
        narrow, wide = (cv2.GaussianBlur(band, (0, 0), sigma) for sigma in _XDOG_SIGMAS)
        # Whole steps of brightness, as of a picture of 8 bits.
        darker = np.ceil((wide - narrow).max(axis=2).clip(0, _WHITE))
        found: npt.NDArray[np.bool_] = 2 * darker > parameters["threshold"]
        return found

    picture = at_resolution(image, parameters[RESOLUTION])
    return _binary(_in_bands(picture, strokes, np.empty(picture.shape[:2], np.bool_), max(_XDOG_SIGMAS)))


def lineart_standard(image: Pixels, parameters: Parameters) -> Pixels:
    """Lines of a drawing on light ground, white on black: how much darker than its surroundings each pixel
    is, levelled so that the usual line has half the brightness there is."""

    def darkness(band: _Values) -> _Values:
        blurred = cv2.GaussianBlur(band, (0, 0), _LINE_SIGMA)
        return np.asarray((blurred - band).min(axis=2).clip(0, _WHITE), np.float32)

    picture = at_resolution(image, parameters[RESOLUTION])
    darker = _in_bands(picture, darkness, np.empty(picture.shape[:2], np.float32), _LINE_SIGMA)
    lines = darker[darker > _PAPER]
    usual = (
        max(_FAINTEST_LINE, float(np.median(lines, overwrite_input=True))) if lines.size else _FAINTEST_LINE
    )
    del lines
    darker *= _LINE_VALUE / usual
    return as_picture(_whole(darker))


def shuffle(image: Pixels, parameters: Parameters) -> Pixels:
    """The picture's colours in other places, along a smooth random field (L. Zhang, ControlNet 1.1, shuffle).
    The same picture gives the same map."""
    picture = at_resolution(image, parameters[RESOLUTION])
    height, width = picture.shape[:2]
    random = np.random.default_rng(zlib.crc32(picture.tobytes()))
    across, down = (_smooth_field(random, height, width) for _ in "xy")
    across *= np.float32(width - 1)
    down *= np.float32(height - 1)
    return _bytes(cv2.remap(picture, across, down, cv2.INTER_LINEAR))


def _smooth_field(random: np.random.Generator, height: int, width: int) -> _Values:
    """Smooth values from 0 to 1, (height, width)."""
    grain = _SHUFFLE_GRAIN
    coarse = random.random((height // grain + 2, width // grain + 2), dtype=np.float32)
    larger = cv2.resize(coarse, (width + 2 * grain, height + 2 * grain), interpolation=cv2.INTER_CUBIC)
    field: _Values = np.array(larger[grain : grain + height, grain : grain + width], np.float32)
    lowest, highest = float(field.min()), float(field.max())
    field -= lowest
    field /= max(highest - lowest, 1e-6)
    return field


def tile_resample(image: Pixels, parameters: Parameters) -> Pixels:
    """Smaller by the rate, each pixel the mean of those it stands for; at a rate of 1 as it is."""
    rate = parameters["down_sampling_rate"]
    height, width = (max(1, int(side / rate)) for side in image.shape[:2])
    return _bytes(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def tile_as_it_is(image: Pixels, parameters: Parameters) -> Pixels:
    """The picture itself: its colours are kept while another is drawn to it, by whoever draws."""
    return image


def recolor_luminance(image: Pixels, parameters: Parameters) -> Pixels:
    """The lightness of CIE L*a*b*, grey, to the power of gamma, at the picture's own size."""
    return as_picture(_powered(_bytes(cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[:, :, 0]), parameters["gamma"]))


def recolor_intensity(image: Pixels, parameters: Parameters) -> Pixels:
    """The largest of the three colours, grey, to the power of gamma, at the picture's own size."""
    return as_picture(_powered(image.max(axis=2), parameters["gamma"]))


def _powered(grey: Grey, gamma: float) -> Grey:
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    table = _whole(np.power(levels, np.float32(gamma)) * np.float32(_WHITE))
    return table[grey]


def _in_bands(
    picture: Pixels,
    make: Callable[[_Values], npt.NDArray[_Kind]],
    made: npt.NDArray[_Kind],
    sigma: float,
) -> npt.NDArray[_Kind]:
    """`made` (H, W), with what `make` makes of the whole picture as floats, put together of bands; `sigma` is
    the width of the widest Gaussian that it uses."""
    height, width = picture.shape[:2]
    # As far as OpenCV looks, at four times sigma, rounded up.
    reach = ceil(4 * sigma) + 1
    rows = max(reach, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above, below = max(top - reach, 0), min(bottom + reach, height)
        band = make(picture[above:below].astype(np.float32))
        made[top:bottom] = band[top - above : bottom - above]
    return made


def _binary(where: npt.NDArray[np.bool_]) -> Pixels:
    return as_picture(where.astype(np.uint8) * np.uint8(_WHITE))


def _whole(values: _Values) -> Grey:
    return values.clip(0, _WHITE).astype(np.uint8)


def _bytes(array: object) -> npt.NDArray[np.uint8]:
    """OpenCV tells its arrays' types as any number's."""
    return np.asarray(array, dtype=np.uint8)
