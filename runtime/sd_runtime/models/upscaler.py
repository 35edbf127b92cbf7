"""Upscalers: networks that make a picture larger by a fixed factor, of any architecture that spandrel knows.

The architecture is told from the weights' names and shapes; no code comes from a file.
"""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import spandrel
import torch

from sd_runtime.device import Device
from sd_runtime.errors import CheckpointError, GenerationError
from sd_runtime.models import tiles, weights
from sd_runtime.models.digests import DigestCache, FileKey, key_of
from sd_runtime.models.reading import Placement
from sd_runtime.models.vae import Pixels

logger = logging.getLogger(__name__)

#: Networks that are kept for the next request.
_KEPT = 2
#: Sides of a tile for a device whose memory ran out.
_SMALLER_TILES = (256, 128, 64)


class Upscalers:
    """The networks used last, on the device. Device thread only."""

    def __init__(
        self, device: Device, *, allow_pickles: bool = False, digests: DigestCache | None = None
    ) -> None:
        self._device = device
        self._allow_pickles = allow_pickles
        self._digests = digests or DigestCache()
        self._networks: OrderedDict[tuple[Path, FileKey], Any] = OrderedDict()

    def scale(self, path: Path) -> int:
        """By how much the file's network makes a side longer; raises as `upscale`."""
        return int(self._network(path).scale)

    def upscale(self, path: Path, pixels: Pixels, *, tile: int = 192, overlap: int = 8) -> Pixels:
        """The picture, larger by the network's own factor, computed in tiles of that side with that overlap
        (in pixels of the given picture; 0: as a whole).

        Raises `CheckpointError` for a file that is no upscaler of RGB pictures, `GenerationError` for values
        that are not numbers.
        """
        network = self._network(path)
        shades = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        shades = shades.to(self._device.handle, network.dtype) / 255
        side = tile or max(pixels.shape[:2])
        attempts = [side, *(smaller for smaller in _SMALLER_TILES if smaller < side)]
        for attempt in attempts[:-1]:
            try:
                return _in_tiles(network, shades, attempt, overlap, path)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        return _in_tiles(network, shades, attempts[-1], overlap, path)

    def _network(self, path: Path) -> Any:
        with weights.naming(path):
            file = weights.open_file(path, allow_pickles=self._allow_pickles)
            key = path, key_of(path.stat())
            if key not in self._networks:
                self._networks[key] = self._load(file)
                while len(self._networks) > _KEPT:
                    self._networks.popitem(last=False)
            self._networks.move_to_end(key)
            return self._networks[key]

    def _load(self, file: weights.WeightsFile) -> Any:
        # Built in the processor's memory: some architectures compute tables from their weights.
        cpu = torch.device("cpu")
        tensors, _ = file.read(lambda _: Placement(cpu, None), self._digests)
        try:
            named = spandrel.canonicalize_state_dict(tensors)
            network = spandrel.ModelLoader(cpu).load_from_state_dict(named)
        # What a stranger's weights make of an architecture that they look like is nobody's promise.
        except (spandrel.UnsupportedModelError, RuntimeError, ValueError, LookupError, TypeError) as error:
            raise CheckpointError(
                f"no upscaler of an architecture that is known: {str(error)[:200]}"
            ) from error
        if not isinstance(network, spandrel.ImageModelDescriptor):
            raise CheckpointError(f"an upscaler that needs more than a picture ({network.purpose})")
        if (network.input_channels, network.output_channels) != (3, 3):
            raise CheckpointError(
                f"a network from {network.input_channels} to {network.output_channels} channels; an upscaler "
                "of RGB pictures is needed"
            )
        dtype = _format(network, self._device)
        logger.info(
            "loaded upscaler %s: %s x%d, %s", file.path.name, network.architecture.name, network.scale, dtype
        )
        return network.to(self._device.handle, dtype).eval()


def _format(network: Any, device: Device) -> torch.dtype:
    """Half precision on a GPU where the architecture bears it."""
    if device.handle.type != "cuda":
        return torch.float32
    if network.supports_half:
        return torch.float16
    if network.supports_bfloat16 and device.dtype is torch.bfloat16:
        return torch.bfloat16
    return torch.float32


def _in_tiles(network: Any, shades: torch.Tensor, tile: int, overlap: int, path: Path) -> Pixels:
    def apply(box: tiles.Box) -> torch.Tensor:
        top, bottom, left, right = box
        larger: torch.Tensor = network(shades[..., top:bottom, left:right])
        if not bool(torch.isfinite(larger).all()):
            raise GenerationError(f"the upscaler {path.name} gives values that are not finite numbers")
        return larger

    rows, columns = shades.shape[-2:]
    larger = tiles.joined(apply, rows=rows, columns=columns, tile=tile, overlap=overlap, zoom=network.scale)
    picture: Pixels = (larger[0] * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return picture
