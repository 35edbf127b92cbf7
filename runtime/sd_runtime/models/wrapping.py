"""Pictures whose edges meet: convolutions that see, beyond an edge, the picture's other side."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Wrapping:
    """Switches a network's convolutions between zeros and the other side of the picture around it. For one
    thread."""

    def __init__(self, network: Any) -> None:
        self._convolutions = [
            module
            for module in network.modules()
            if isinstance(module, torch.nn.Conv2d) and module.padding not in (0, (0, 0))
        ]

    @contextmanager
    def on(self, wanted: bool) -> Iterator[None]:
        """Inside, the edges meet if that is wanted."""
        if not wanted:
            yield
            return
        before = [module.padding_mode for module in self._convolutions]
        try:
            for module in self._convolutions:
                module.padding_mode = "circular"
            yield
        finally:
            for module, mode in zip(self._convolutions, before, strict=True):
                module.padding_mode = mode


def wrapped(values: torch.Tensor, *, rows: int, columns: int) -> torch.Tensor:
    """The picture with so much of its other side around it; (1, C, H, W) -> (1, C, H + 2 rows, W + 2
    columns)."""
    if not rows and not columns:
        return values
    height, width = values.shape[-2:]
    down = torch.arange(-rows, height + rows, device=values.device) % height
    across = torch.arange(-columns, width + columns, device=values.device) % width
    return values[..., down[:, None], across]
