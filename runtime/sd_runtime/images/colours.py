"""A picture given the colours of another (A1111's colour correction after img2img), or its light (recolouring
by ControlNet)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sd_runtime.images.codec import Pixels

Floats = npt.NDArray[np.floating[Any]]  # of 32 bits
Bytes = npt.NDArray[np.uint8]

#: Linear sRGB to XYZ relative to the white of D65 (IEC 61966-2-1).
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.950456], [1.0], [1.088754]])
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
#: L*a*b* in 8 bits: L from 0 to 100 takes all of them, a and b are moved by half.
_SCALE = np.array([2.55, 1.0, 1.0], dtype=np.float32)
_ZERO = np.array([0.0, 128.0, 128.0], dtype=np.float32)
#: Where CIE 1976 L*a*b* goes from a straight line to a cube root.
_BEND = 6 / 29
#: Of the compositing specification below: what each channel gives to luminosity.
_LUMINOSITY = np.array([0.3, 0.59, 0.11], dtype=np.float32)


def match(picture: Pixels, reference: Pixels) -> Pixels:
    """The picture with the histograms of `reference` in L*a*b*, and with its own luminosity.

    Luminosity is that of W3C's "Compositing and Blending Level 1", section 10.2 (non-separable blend modes).
    """
    own, wished = _levels(_to_lab(picture)), _levels(_to_lab(reference))
    matched = np.stack([_match_channel(own[..., i], wished[..., i]) for i in range(3)], axis=-1)
    shades = _with_luminosity(_from_lab((matched - _ZERO) / _SCALE), picture.astype(np.float32) / 255)
    return (shades * 255).round().clip(0, 255).astype(np.uint8)


def with_lightness(picture: Pixels, levels: Bytes) -> Pixels:
    """The picture's colours with this L of L*a*b*, 0 to 255: (H, W, 3), (H, W) -> (H, W, 3)."""
    lab = _to_lab(picture)
    lab[..., 0] = levels / _SCALE[0]
    return (_from_lab(lab) * 255).round().clip(0, 255).astype(np.uint8)


def with_value(picture: Pixels, levels: Bytes) -> Pixels:
    """The picture's colours with this V of HSV, the brightest channel of each pixel."""
    brightest = picture.max(axis=2, keepdims=True).astype(np.float32)
    shades = np.where(brightest > 0, picture / np.maximum(brightest, 1), 1)
    return (shades * levels[..., None]).round().astype(np.uint8)


def _match_channel(levels: Bytes, reference: Bytes) -> Floats:
    """Each level becomes that of the same quantile in the reference."""
    counts, wished = (np.bincount(each.ravel(), minlength=256) for each in (levels, reference))
    there = np.flatnonzero(wished)
    found: Floats = np.interp(
        counts.cumsum() / levels.size, wished.cumsum()[there] / reference.size, there.astype(np.float64)
    )
    return found.astype(np.float32)[levels]


def _levels(lab: Floats) -> Bytes:
    """In 8 bits a channel, so that equal colours stay equal."""
    levels: Bytes = (lab * _SCALE + _ZERO).round().clip(0, 255).astype(np.uint8)
    return levels


def _to_lab(pixels: Pixels) -> Floats:
    """L from 0 to 100, a and b from about -128 to 127."""
    shades = np.arange(256) / 255
    linear = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4)
    xyz = linear.astype(np.float32)[pixels] @ _TO_XYZ.T.astype(np.float32)
    bent = np.where(xyz > _BEND**3, np.cbrt(xyz), xyz / (3 * _BEND**2) + 4 / 29)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _from_lab(lab: Floats) -> Floats:
    """Shades from 0 to 1."""
    y = (lab[..., 0] + 16) / 116
    bent = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(bent > _BEND, bent * bent * bent, 3 * _BEND**2 * (bent - 4 / 29))
    linear = (xyz @ _FROM_XYZ.T.astype(np.float32)).clip(0, 1)
    shades: Floats = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return shades.clip(0, 1)


def _with_luminosity(shades: Floats, source: Floats) -> Floats:
    """The colours of the one with the luminosity of the other, moved towards grey where they leave 0 to 1."""
    light = (source @ _LUMINOSITY)[..., None]
    moved = shades + light - (shades @ _LUMINOSITY)[..., None]
    low, high = moved.min(axis=-1, keepdims=True), moved.max(axis=-1, keepdims=True)
    below = np.where(low < 0, light / np.where(low < 0, light - low, 1), 1)
    moved = light + (moved - light) * below
    above = np.where(high > 1, (1 - light) / np.where(high > 1, high - light, 1), 1)
    result: Floats = light + (moved - light) * np.minimum(above, 1)
    return result
