"""Noise of one picture: computed on the host from generators of its own, so that neither device nor
neighbours matter. What seed, subseed, seed resize and ENSD mean is A1111's.

Knows no sampler and no model.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torchsde

from sd_runtime.sampling.philox import Philox
from sd_runtime.sampling.settings import NoiseSettings, NoiseSource

Shape = tuple[int, int, int]  # (C, H, W)
#: Unit noise of shape (1, C, H, W) for the way from one sigma to a lower one, in the processor's memory.
Draw = Callable[[float, float], torch.Tensor]
Source = Callable[[Shape], torch.Tensor]

SEEDS = 2**64
#: Above this mean cosine two noises are one, and arcs between them lose their digits.
PARALLEL = 0.9995
#: Of a time in a tree of Brownian noise.
TREE_DIGITS = 6


class ImageNoise:
    """All noise of one picture, in the order in which it is asked for."""

    def __init__(
        self, settings: NoiseSettings, shape: Shape, device: torch.device, latent_stride: int
    ) -> None:
        """`shape` is (C, H, W) of the latents, `latent_stride` the pixels per latent."""
        self._settings = settings
        self._shape = shape
        self._device = device
        self._stride = latent_stride
        self._source = _source(settings.source, settings.seed)
        #: Draws what will be asked for next, wherever there is time for it before that; None: nothing is
        #: known to be asked for, or worth drawing ahead.
        self.prepare: Callable[[], None] | None = None

    @property
    def is_slow(self) -> bool:
        """Whether drawing takes longer than having it done elsewhere."""
        return self._settings.source is NoiseSource.NV

    def first(self) -> torch.Tensor:
        """What the picture begins with: (1, C, H, W), float32, on the device. To be called once, before any
        other draw."""
        settings = self._settings
        shape = self._shape_of_seed()
        resized = shape != self._shape
        noise = _source(settings.source, settings.seed)(shape) if resized else self._source(shape)
        if settings.subseed_strength:
            other = _source(settings.source, settings.subseed)(shape)
            noise = between(noise, other, settings.subseed_strength)
        if resized:
            noise = paste(noise, self._source(self._shape))
        if settings.seed_delta:
            self._source = _source(settings.source, settings.seed + settings.seed_delta)
        return self.placed(noise.unsqueeze(0))

    def further(self, sigma: float, after: float) -> torch.Tensor:
        """A `Draw` from the picture's generator, whatever the sigmas are."""
        return self._source(self._shape).unsqueeze(0)

    def brownian(self, low: float, high: float) -> Draw:
        """The increments of one Brownian motion of the picture's seed over sigmas from `low` to `high`,
        scaled to unit variance: more steps through the same range sum up to the same noise.

        The same numbers as k-diffusion's BrownianTreeNoiseSampler with this seed, on the CPU. No subseed and
        no ENSD has a say in it (A1111's).
        """
        # The tree rounds its ends, and warns of times beyond them.
        ends = round(_single(low), TREE_DIGITS), round(_single(high), TREE_DIGITS)
        tree: torchsde.BrownianTree | None = None

        def draw(sigma: float, after: float) -> torch.Tensor:
            nonlocal tree
            if tree is None:
                origin = torch.zeros(self._shape)
                tree = torchsde.BrownianTree(t0=ends[0], w0=origin, t1=ends[1], entropy=self._settings.seed)
            t0, t1 = _single(after), _single(sigma)
            # Against the direction that the tree grew in.
            increment: torch.Tensor = tree(max(t0, ends[0]), min(t1, ends[1]))
            return (-increment / math.sqrt(t1 - t0)).unsqueeze(0)

        return draw

    def _shape_of_seed(self) -> Shape:
        if self._settings.resize_from is None:
            return self._shape
        width, height = self._settings.resize_from
        return self._shape[0], height // self._stride, width // self._stride

    def placed(self, noise: torch.Tensor) -> torch.Tensor:
        """What was drawn, on the device."""
        return noise.to(self._device)


def between(low: torch.Tensor, high: torch.Tensor, share: float) -> torch.Tensor:
    """Two noises of (C, H, W) mixed along the arc between them, which keeps their variance; A1111's arcs are
    those of the columns."""
    cosine = (_units(low) * _units(high)).sum(1, keepdim=True).clamp(-1, 1)
    straight = low * (1 - share) + high * share
    if cosine.mean() > PARALLEL:
        return straight
    arc = torch.acos(cosine)
    sine = torch.sin(arc)
    bent = (torch.sin((1 - share) * arc) * low + torch.sin(share * arc) * high) / sine
    # A column of one number has no arc to another.
    return torch.where(sine > 0, bent, straight)


def paste(noise: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
    """`onto` (C, H, W) with the middle of `noise` in its middle, as far as both reach."""
    pasted = onto.clone()
    rows, columns = (_overlap(noise.shape[axis], onto.shape[axis]) for axis in (1, 2))
    pasted[:, rows[1], columns[1]] = noise[:, rows[0], columns[0]]
    return pasted


def _overlap(inner: int, outer: int) -> tuple[slice, slice]:
    """Where the two lie on each other along one axis. An odd surplus costs one more row, as in A1111."""
    margin = (outer - inner) // 2
    length = inner if margin >= 0 else inner + 2 * margin
    return slice(max(-margin, 0), max(-margin, 0) + length), slice(max(margin, 0), max(margin, 0) + length)


def _units(noise: torch.Tensor) -> torch.Tensor:
    lengths: torch.Tensor = torch.linalg.vector_norm(noise, dim=1, keepdim=True)
    return noise / lengths


def _source(kind: NoiseSource, seed: int) -> Source:
    """A generator of its own."""
    if kind is NoiseSource.NV:
        philox = Philox(seed % SEEDS)
        return lambda shape: torch.from_numpy(philox.normal(shape))
    generator = torch.Generator("cpu").manual_seed(seed % SEEDS)
    return lambda shape: torch.randn(shape, generator=generator, dtype=torch.float32)


def _single(sigma: float) -> float:
    """As k-diffusion has it: the tree's numbers depend on the last digit of a time."""
    return float(np.float32(sigma))
