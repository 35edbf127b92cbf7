"""Upscalers' networks, of any architecture that spandrel knows: told from the weights' names and shapes, so
no code comes from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spandrel
import torch

from sd_plugin import memory, weights
from sd_plugin.errors import ModuleFailed
from sd_plugin.module import Pixels
from sd_plugin.plugins.upscale.tiles import Floats
from sd_plugin.weights import WrongWeights

#: The contract's most.
_LARGEST_FACTOR = 16


@dataclass(frozen=True, slots=True)
class Upscaler:
    """A network on the processor."""

    name: str
    descriptor: Any

    @property
    def factor(self) -> int:
        """How many times as long each side becomes."""
        return int(self.descriptor.scale)

    def enlarge(self, image: Pixels) -> Floats:
        """The picture (H, W, 3) made larger, as shades of 0 to 1. Raises `ModuleFailed` where the network
        gives what is no number."""
        shades = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        with torch.inference_mode():
            larger = self.descriptor(shades)
        if not bool(torch.isfinite(larger).all()):
            raise ModuleFailed(f"{self.name}: the network gives values that are not finite numbers")
        made: Floats = np.ascontiguousarray(larger[0].permute(1, 2, 0).numpy())
        return made


def load(path: Path) -> Upscaler:
    """The network in a file. Raises as `weights.read`, and `WrongWeights`, naming the file, for one that is
    no upscaler of RGB pictures."""
    held = weights.read(path)
    try:
        named = spandrel.canonicalize_state_dict(_plain(held))
        descriptor = spandrel.ModelLoader(torch.device("cpu")).load_from_state_dict(named).float().eval()
    # What a stranger's weights make of an architecture that they look like is nobody's promise.
    except (
        spandrel.UnsupportedModelError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        MemoryError,
    ) as error:
        if memory.is_short(error):
            raise weights.ShortOfMemory(path) from error
        brief = str(error).strip().split("\n", 1)[0][:200]
        raise WrongWeights(
            f"{path.name}: no upscaler of an architecture that is known: {brief or type(error).__name__}"
        ) from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise WrongWeights(f"{path.name}: an upscaler that needs more than a picture")
    channels = descriptor.input_channels, descriptor.output_channels
    if channels != (3, 3):
        raise WrongWeights(
            f"{path.name}: a network from {channels[0]} to {channels[1]} channels, not of RGB pictures"
        )
    if not 1 <= descriptor.scale <= _LARGEST_FACTOR:
        raise WrongWeights(f"{path.name}: a network that enlarges {descriptor.scale} times; allowed: 1 to 16")
    return Upscaler(path.name, descriptor)


def _plain(held: Mapping[str, Any]) -> dict[str, Any]:
    """As spandrel takes it: mappings that are dicts."""
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in held.items()}
