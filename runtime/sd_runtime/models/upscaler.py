"""Upscalers: networks that make a picture larger by a fixed factor, of any architecture that spandrel knows.

The architecture is told from the weights' names and shapes; no code comes from a file.
"""

import logging
from collections import OrderedDict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import spandrel
import torch

from sd_runtime.device import Device
from sd_runtime.errors import CheckpointError, GenerationError, UnsupportedError
from sd_runtime.models import judge_tile, tiles, weights
from sd_runtime.models.digests import DigestCache, FileKey, key_of
from sd_runtime.models.reading import Placement
from sd_runtime.models.shortage import ran_out
from sd_runtime.models.vae import Pixels

logger = logging.getLogger(__name__)

#: Networks that are kept for the next request.
_KEPT = 2
#: Sides of a tile for a device whose memory ran out.
_SMALLER_TILES = (256, 128, 64)
#: As a whole only a picture of no more pixels than such a tile is computed: the memory that a network takes
#: grows with its input.
_LARGEST_TILE = 512
#: Of a result: 16384 pixels square, 3 bytes each.
_MOST_PIXELS = 2**28


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
        """As `tiles`, all at once."""
        return tiles.at_once(self.tiles(path, pixels, tile=tile, overlap=overlap))

    def tiles(
        self, path: Path, pixels: Pixels, *, tile: int = 192, overlap: int = 8
    ) -> Generator[None, None, Pixels]:
        """The picture, larger by the network's own factor, computed in tiles of that side with that overlap
        (in pixels of the given picture; 0: as large as is served, so that a small picture is one tile), one
        tile each time it is resumed.

        Raises `UnsupportedError` for a tile's side that is not served, at once; when resumed,
        `CheckpointError` for a file that is no upscaler of RGB pictures, `UnsupportedError` for a result of
        more than 2^28 pixels, `GenerationError` for values that are not numbers, torch's `OutOfMemoryError`
        where not even a small tile fits.
        """
        judge_tile(tile)
        return self._tiles(path, pixels, tile, overlap)

    def _tiles(self, path: Path, pixels: Pixels, tile: int, overlap: int) -> Generator[None, None, Pixels]:
        network = self._network(path)
        _demand_size(network, pixels)
        shades = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].to(self._device.handle)
        side = min(tile or _whole(pixels), max(pixels.shape[:2]))
        attempts = [side, *(smaller for smaller in _SMALLER_TILES if smaller < side)]
        for attempt in attempts[:-1]:
            try:
                return (yield from _in_tiles(network, shades, attempt, overlap, path))
            except RuntimeError as error:
                if not ran_out(error):
                    raise
            # Here the error is gone, and with it the frames that held on to what had been computed.
            torch.cuda.empty_cache()
        return (yield from _in_tiles(network, shades, attempts[-1], overlap, path))

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


def _demand_size(network: Any, pixels: Pixels) -> None:
    height, width = (int(network.scale) * side for side in pixels.shape[:2])
    if width * height > _MOST_PIXELS:
        allowed = f"results of an upscaler's network of at most {_MOST_PIXELS} pixels"
        raise UnsupportedError("upscaler", f"{width}x{height}", allowed)


def _whole(pixels: Pixels) -> int:
    """The side of a tile that the picture fits into, if it is small enough to be computed as one."""
    height, width = pixels.shape[:2]
    return max(height, width) if height * width <= _LARGEST_TILE**2 else _LARGEST_TILE


def _in_tiles(
    network: Any, shades: torch.Tensor, tile: int, overlap: int, path: Path
) -> Generator[None, None, Pixels]:
    def apply(box: tiles.Box) -> torch.Tensor:
        top, bottom, left, right = box
        larger: torch.Tensor = network(shades[..., top:bottom, left:right].to(network.dtype) / 255)
        if not bool(torch.isfinite(larger).all()):
            raise GenerationError(f"the upscaler {path.name} gives values that are not finite numbers")
        return larger

    rows, columns = shades.shape[-2:]
    larger = yield from tiles.joining(
        apply, rows=rows, columns=columns, tile=tile, overlap=overlap, zoom=network.scale, finish=_bytes
    )
    picture: Pixels = larger[0].permute(1, 2, 0).numpy()
    return picture


def _bytes(shades: torch.Tensor) -> torch.Tensor:  # 0 to 1
    return (shades * 255).round().clamp(0, 255).to(torch.uint8)
