"""Control maps to other sizes. They are drawings, not photographs: what is black and white stays so, lines of
a pixel stay lines of a pixel, and colours that stand for something are not mixed.

As sd-webui-controlnet treats them. Work for the host; importing it does not import torch.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from sd_runtime.images import resizing
from sd_runtime.images.resizing import Box, Size
from sd_runtime.tasks.recipe import Grey, ResizeMode

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

#: A map of fewer colours has meanings for them (segmentation).
_FEW_COLOURS = 200
_DARK, _BRIGHT = 16, 240
_MIDDLE = 127
_WHITE = 255
#: Where one pixel in so many has gone, all are asked next: that is faster than to find out who is concerned.
_DENSE = 16


def fit(pixels: Bytes, size: Size, mode: ResizeMode, *, around: int | None = None) -> Bytes:
    """A map (or a grey one) of this size: stretched; in its own proportions, cut; or so, and around it what
    most of its edges show, or the given value."""
    own = resizing.size_of(pixels)
    if own == size:
        return pixels
    if mode is ResizeMode.STRETCH:
        return _resample(pixels, size, resizing.whole(pixels))
    if mode is ResizeMode.CROP:
        return _resample(pixels, size, resizing.middle(own, size))
    inner = resizing.within(own, size)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    filled = np.empty((size[1], size[0], *pixels.shape[2:]), np.uint8)
    filled[...] = _most_of_edges(pixels) if around is None else around
    filled[top : top + inner[1], left : left + inner[0]] = _resample(pixels, inner, resizing.whole(pixels))
    return filled


def fit_blank(blank: Grey, size: Size, mode: ResizeMode) -> Grey:
    """What of a map is hidden, brought to this size with it; nothing is known of what lies around a map."""
    return fit(_black_and_white(blank > _MIDDLE), size, mode, around=_WHITE)


def _most_of_edges(pixels: Bytes) -> Bytes:
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(np.median(edges, axis=0), np.uint8)


def _resample(pixels: Bytes, size: Size, box: Box) -> Bytes:
    """The part in the box at this size, in the way that suits the map."""
    image = Image.fromarray(pixels)
    width, height = box.size
    # The average of all that becomes a pixel, or a curve through the pixels.
    smooth = Image.Resampling.BOX if size[0] * size[1] < width * height else Image.Resampling.BICUBIC
    if _is_black_and_white(pixels):
        grey = pixels if pixels.ndim == 2 else pixels[..., 0]
        made = _separated(np.asarray(Image.fromarray(grey).resize(size, smooth, box)))
        if _is_of_lines(grey):
            made = _thinned(made)
        drawn = _black_and_white(made)
        return drawn if pixels.ndim == 2 else drawn[..., None].repeat(pixels.shape[2], axis=2)
    # Counting ends at the first colour too many: to count those of a noisy photograph takes seconds.
    has_few = image.getcolors(_FEW_COLOURS - 1) is not None
    return np.array(image.resize(size, Image.Resampling.NEAREST if has_few else smooth, box))


def _is_black_and_white(pixels: Bytes) -> bool:
    if pixels.ndim == 3 and not (pixels == pixels[..., :1]).all():
        return False
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    low, high = int(grey.min()), int(grey.max())
    return low < _DARK and high > _BRIGHT and bool(((grey == low) | (grey == high)).all())


def _separated(grey: Grey) -> Flags:
    """What is bright, by the threshold that sets the two kinds apart best (Otsu 1979)."""
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (sums / below - (sums[-1] - sums) / above) ** 2 * below * above
    return grey > int(np.nanargmax(np.where(np.isfinite(apart), apart, -1.0)))


def _is_of_lines(grey: Grey) -> bool:
    """Whether most of what is white goes with the outermost pixel of everything."""
    white = Image.fromarray(_black_and_white(grey > _MIDDLE))
    left = white.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MaxFilter(3))
    return 2 * int((np.asarray(left) > _MIDDLE).sum()) < int((grey > _MIDDLE).sum())


def _thinned(lines: Flags) -> Flags:
    """To a pixel's width (Zhang and Suen 1984): pixels go from one side and then from the other where their
    neighbours hold together without them.

    Asked again is only who has lost a neighbour since, so that what is thick takes as long as it has pixels,
    and not the whole map for each of its layers.
    """
    padded = np.pad(lines, 1)
    flags, width = padded.ravel(), padded.shape[1]
    #: The eight around a pixel, clockwise from the one above.
    around = (-width, -width + 1, 1, width + 1, width, width - 1, -1, -width - 1)
    asked: list[Places | None] = [None, None]  # of each side; None: all pixels
    while any(each is None or len(each) for each in asked):
        for side, other in ((0, 1), (1, 0)):
            gone = _to_go(flags, around, asked[side], _GOES[side])
            flags[gone] = False
            if len(gone) * _DENSE > len(flags):
                asked = [None, None]
                continue
            near = np.concatenate([gone + offset for offset in around])
            near = np.sort(near[flags[near]])
            near = near[np.diff(near, prepend=-1) > 0]
            waiting = asked[other]
            asked[side] = near
            asked[other] = None if waiting is None else np.concatenate([waiting, near])
    return padded[1:-1, 1:-1]


def _to_go(flags: Flags, around: Sequence[int], asked: Places | None, goes: Flags) -> Places:
    """Those of the places asked for that are on and whose neighbours say so. Of the places outermost in
    `flags`, which are off, none is asked for."""
    if asked is not None:
        asked = asked[flags[asked]]
        code = np.zeros(len(asked), np.uint8)
        for bit, offset in enumerate(around):
            code |= flags[asked + offset].view(np.uint8) << bit
        return asked[goes[code]]
    margin = max(around)
    code = np.zeros(len(flags) - 2 * margin, np.uint8)
    for bit, offset in enumerate(around):
        code |= flags[margin + offset : len(flags) - margin + offset].view(np.uint8) << bit
    return np.flatnonzero(goes[code] & flags[margin : len(flags) - margin]) + margin


def _going(side: int) -> Flags:  # (256,)
    """Whether a pixel goes from this side, by its neighbours: a bit each, clockwise from the one above."""
    n = [(np.arange(256) >> bit & 1).astype(np.bool_) for bit in range(8)]
    count = sum(each.astype(np.uint8) for each in n)
    begins = sum((~a & b).astype(np.uint8) for a, b in zip(n, n[1:] + n[:1], strict=True))
    up, right, down, left = n[0], n[2], n[4], n[6]
    if side == 0:
        exposed = ~(up & right & down) & ~(right & down & left)
    else:
        exposed = ~(up & right & left) & ~(up & down & left)
    return np.asarray((count >= 2) & (count <= 6) & (begins == 1) & exposed)


_GOES = _going(0), _going(1)


def _black_and_white(flags: Flags) -> Grey:
    return np.where(flags, np.uint8(_WHITE), np.uint8(0))
