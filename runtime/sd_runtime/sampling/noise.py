"""Noise of one picture: drawn on the CPU from a generator of its own, so that neither device nor neighbours
matter.
"""

from collections.abc import Callable

import torch

Draw = Callable[[], torch.Tensor]


def image_noise(seed: int, shape: tuple[int, int, int], device: torch.device) -> Draw:
    """A source of noise of shape (1, *shape): the first draw starts the picture, later ones serve its
    sampler.
    """
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw() -> torch.Tensor:
        return torch.randn((1, *shape), generator=generator, dtype=torch.float32).to(device)

    return draw
