"""An autoencoder: pictures to latents and back, of any size in bounded memory.

A checkpoint has its own; a file may hold another one that fits. Knows nothing of prompts and networks that
denoise.
"""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from sd_modelfiles import kinds
from sd_runtime.device import Device
from sd_runtime.errors import CheckpointError, GenerationError
from sd_runtime.models import layout, parts, tiles, weights
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.reading import Placement
from sd_runtime.models.shortage import ran_out
from sd_runtime.models.wrapping import Wrapping, wrapped

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB
_Computing = Generator[None, None, torch.Tensor]

#: Sides in latents up to which a picture is computed as a whole: 1024 pixels square, about 6 GiB in float32.
_MOST_CELLS = 128 * 128
#: Sides of a tile in latents; the smaller ones are for a device whose memory ran out.
_TILES = (96, 64, 32)
_OVERLAP = 16
#: How far (in latents) what a decoder or encoder makes of a point depends on what is around it.
_REACH = 16


class Vae:
    """The network, and the factor between its latents and those that a checkpoint works on."""

    def __init__(self, network: Any, *, scale: float, device: Device) -> None:
        self.network = network
        self.scale = scale
        self._device = device
        self._wrapping = Wrapping(network)

    @property
    def channels(self) -> int:
        """Of the latents."""
        return int(self.network.config.latent_channels)

    @property
    def stride(self) -> int:
        """Pixels on a side of a latent."""
        return int(2 ** (len(self.network.config.block_out_channels) - 1))

    def decode(self, latents: torch.Tensor, *, tiling: bool = False) -> Pixels:  # (1, C, H, W) -> (8H, 8W, 3)
        """The picture of finished latents; latents or pixels that are not numbers are a `GenerationError`,
        never a black square. `tiling`: its edges meet."""
        return tiles.at_once(self.decoding(latents, tiling=tiling))

    def decoding(self, latents: torch.Tensor, *, tiling: bool = False) -> Generator[None, None, Pixels]:
        """As `decode`, one tile each time it is resumed; a picture that is computed as a whole is one."""
        _demand_numbers(latents, "the latents")
        latents = latents.to(self._device.handle, self._device.decoder_dtype) / self.scale
        shades = yield from self._in_memory(latents.shape, lambda tile: self._decode(latents, tile, tiling))
        picture: Pixels = shades[0].permute(1, 2, 0).cpu().numpy()
        return picture

    def encode(
        self, pixels: Pixels, *, tiling: bool = False
    ) -> torch.Tensor:  # (H, W, 3) -> (1, C, H/8, W/8)
        """The mean of the latents that the picture may have, float32; its sides are multiples of the stride.
        Values that are not numbers are a `GenerationError`."""
        return tiles.at_once(self.encoding(pixels, tiling=tiling))

    def encoding(self, pixels: Pixels, *, tiling: bool = False) -> Generator[None, None, torch.Tensor]:
        """As `encode`, one tile each time it is resumed."""
        shades = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].to(self._device.handle)
        cells = (1, 1, shades.shape[2] // self.stride, shades.shape[3] // self.stride)
        latents = yield from self._in_memory(cells, lambda tile: self._encode(shades, tile, tiling))
        _demand_numbers(latents, "the latents of the given picture")
        return latents.to(self._device.handle).float() * self.scale

    def _in_memory(
        self, shape: "torch.Size | tuple[int, ...]", compute: Callable[[int | None], _Computing]
    ) -> _Computing:
        """As a whole where that is known to fit, else in tiles: the size of the picture decides, so that the
        same request gives the same picture; only a device that runs out of memory gets smaller ones."""
        whole = shape[-1] * shape[-2] <= _MOST_CELLS
        side = max(shape[-2:])
        attempts = [None, *(tile for tile in _TILES if tile < side)] if whole else [*_TILES]
        for tile in attempts[:-1]:
            try:
                return (yield from compute(tile))
            except RuntimeError as error:
                if not ran_out(error):
                    raise
            # Here the error is gone, and with it the frames that held on to what had been computed.
            torch.cuda.empty_cache()
        return (yield from compute(attempts[-1]))

    def _decode(self, latents: torch.Tensor, tile: int | None, tiling: bool) -> _Computing:
        """Shades as bytes."""
        if tile is None:
            with self._wrapping.on(tiling):
                return _shades(self.network.decode(latents, return_dict=False)[0])
        around = _REACH if tiling else 0
        latents = wrapped(latents, rows=around, columns=around)

        def apply(box: tiles.Box) -> torch.Tensor:
            top, bottom, left, right = box
            piece = latents[..., top:bottom, left:right]
            return self.network.decode(piece, return_dict=False)[0]  # type: ignore[no-any-return]

        rows, columns = latents.shape[-2:]
        shades = yield from tiles.joining(
            apply,
            rows=rows,
            columns=columns,
            tile=tile,
            overlap=_OVERLAP,
            zoom=self.stride,
            finish=_shades,
        )
        return _inner(shades, around * self.stride)

    def _encode(self, shades: torch.Tensor, tile: int | None, tiling: bool) -> _Computing:
        around = _REACH if tiling else 0
        stride = self.stride
        shades = wrapped(shades, rows=around * stride, columns=around * stride)

        def apply(box: tiles.Box) -> torch.Tensor:
            top, bottom, left, right = (stride * side for side in box)
            piece = shades[..., top:bottom, left:right].to(self._device.decoder_dtype) / 127.5 - 1
            return self.network.encode(piece, return_dict=False)[0].mean  # type: ignore[no-any-return]

        rows, columns = (side // stride for side in shades.shape[-2:])
        if tile is None:
            return _inner(apply((0, rows, 0, columns)), around)
        latents = yield from tiles.joining(apply, rows=rows, columns=columns, tile=tile, overlap=_OVERLAP)
        return _inner(latents, around)


def load_vae(
    path: Path,
    device: Device,
    like: "Model",
    *,
    allow_pickles: bool = False,
    digests: DigestCache | None = None,
) -> Vae:
    """The autoencoder of a file (its own, or a checkpoint's) for use with a model; a file that holds none,
    or one that does not fit the model, is a `CheckpointError` that names it."""
    with weights.naming(path):
        file = weights.open_file(path, allow_pickles=allow_pickles)
        channels = kinds.vae_latent_channels(file.header)
        if channels is None:
            raise CheckpointError("it holds no autoencoder")
        own, of = like.autoencoder, like.loaded.path.name
        if channels != own.channels:
            raise CheckpointError(f"its latents have {channels} channels, those of {of} {own.channels}")
        vae = _read(file, device, own.scale, digests or DigestCache())
        if vae.stride != own.stride:
            raise CheckpointError(f"its latents are {vae.stride} pixels wide, those of {of} {own.stride}")
        return vae


def _read(file: weights.WeightsFile, device: Device, scale: float, digests: DigestCache) -> Vae:
    names = file.header.tensors
    prefix = parts.VAE if any(name.startswith(parts.VAE) for name in names) else ""
    shapes = {
        name.removeprefix(prefix): info.shape for name, info in names.items() if name.startswith(prefix)
    }
    in_ldm_names = not any(name.startswith(("encoder.down_blocks.", "encoder.mid_block.")) for name in shapes)
    config = (layout.vae_config if in_ldm_names else layout.diffusers_vae_config)(
        shapes, layout.Conventions(unet_heads=None, unet_head_width=None, latent_scale=scale)
    )
    wanted = set(layout.vae_parts(shapes))

    def place(name: str) -> Placement | None:
        kept = name.startswith(prefix) and name.removeprefix(prefix) in wanted
        return Placement(device.handle, device.decoder_dtype) if kept else None

    tensors, _ = file.read(place, digests)
    network = parts.build_vae(config, tensors, prefix=prefix, convert=in_ldm_names)
    return Vae(device.settle(network), scale=scale, device=device)


def _inner(values: torch.Tensor, around: int) -> torch.Tensor:
    return values[..., around:-around, around:-around] if around else values


def _shades(pixels: torch.Tensor) -> torch.Tensor:  # -1 to 1 -> 0 to 255
    _demand_numbers(pixels, "the decoded picture")
    return ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def _demand_numbers(values: torch.Tensor, what: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise GenerationError(
            f"{what} contain values that are not finite numbers; the model overflows its number format"
            " or the request drives it out of range (try a lower cfg_scale)"
        )
