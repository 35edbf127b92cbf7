from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file

from demo.export import ldm_keys
from sd_runtime import device
from sd_runtime.errors import CheckpointError, GenerationError
from sd_runtime.models import checkpoint, tiles
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model
from sd_runtime.models.vae import Pixels, Vae, load_vae

CPU = device.choose("cpu")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def picture() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def saved(weights: dict[str, torch.Tensor], folder: Path, name: str = "other.vae.safetensors") -> Path:
    path = folder / name
    save_file({name: value.detach().clone().contiguous() for name, value in weights.items()}, path)
    return path


def difference(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_encoding_gives_the_mean_on_the_scale_of_the_checkpoint(model: Model, picture: Pixels) -> None:
    shades = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = model.vae.encode(shades).latent_dist.mean * 0.18215
    found = model.encode_image(picture)
    assert (tuple(found.shape), found.dtype) == ((1, 4, 6, 8), torch.float32)
    assert torch.allclose(found, expected, atol=1e-5)


def test_decoding_is_the_decoders_picture(model: Model, latents: torch.Tensor) -> None:
    expected = (model.vae.decode(latents / 0.18215).sample[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255
    assert difference(model.decode(latents), expected.round().to(torch.uint8).numpy()) <= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_no_numbers_are_an_error_and_no_black_square(
    model: Model, latents: torch.Tensor, value: float
) -> None:
    latents[0, 1, 2, 3] = value
    with pytest.raises(GenerationError, match="the latents contain values that are not finite"):
        model.decode(latents)


class Pointwise(torch.nn.Module):
    """An autoencoder that looks at one point at a time, in which tiles can leave no trace; it notes what it
    was given, and its memory is as small as told."""

    def __init__(
        self, most: int = 10**9, error: type[RuntimeError] | RuntimeError = torch.OutOfMemoryError
    ) -> None:
        super().__init__()
        self.config = type("Config", (), {"latent_channels": 3, "block_out_channels": (1, 1, 1, 1)})
        self.most = most
        self.error = error
        self.areas: list[int] = []
        self.held: list[weakref.ref[torch.Tensor]] = []

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        activations = latents + 0
        self.held.append(weakref.ref(activations))
        self._note(latents.shape[-2] * latents.shape[-1])
        return (latents.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3).tanh(),)

    def encode(self, pixels: torch.Tensor, return_dict: bool) -> tuple[Any]:
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        self._note(mean.shape[-2] * mean.shape[-1])
        return (type("Distribution", (), {"mean": mean}),)

    def _note(self, area: int) -> None:
        if area > self.most:
            raise self.error
        self.areas.append(area)


def expected_picture(latents: torch.Tensor) -> Pixels:
    shades = (latents.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3).tanh()[0] / 2 + 0.5) * 255
    return np.asarray(shades.round().to(torch.uint8).permute(1, 2, 0).numpy())


def test_a_large_picture_is_decoded_in_tiles_that_leave_no_seam() -> None:
    network = Pointwise()
    latents = torch.randn(1, 3, 160, 130)
    found = Vae(network, scale=1.0, device=CPU).decode(latents)
    assert max(network.areas) <= 96 * 96
    assert difference(found, expected_picture(latents)) <= 1


def test_a_large_picture_is_encoded_in_tiles_that_leave_no_seam() -> None:
    network = Pointwise()
    pixels = np.random.default_rng(0).integers(0, 256, (8 * 140, 8 * 130, 3), dtype=np.uint8)
    found = Vae(network, scale=1.0, device=CPU).encode(pixels)
    shades = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert max(network.areas) <= 96 * 96
    assert torch.allclose(found, torch.nn.functional.avg_pool2d(shades, 8), atol=1e-5)


def test_a_large_picture_is_computed_tile_by_tile_and_a_small_one_at_once() -> None:
    network = Pointwise()
    vae = Vae(network, scale=1.0, device=CPU)
    for count, _ in enumerate(vae.decoding(torch.randn(1, 3, 160, 130)), 1):
        assert len(network.areas) == count
    assert count == 4
    large = np.zeros((8 * 160, 8 * 130, 3), np.uint8)
    assert len(list(vae.encoding(large))) == 4
    assert list(vae.decoding(torch.randn(1, 3, 100, 100))) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
    ids=["allocator", "cuDNN", "driver"],
)
def test_a_device_that_runs_out_of_memory_gets_smaller_tiles(error: RuntimeError) -> None:
    network = Pointwise(most=50 * 50, error=error)
    latents = torch.randn(1, 3, 100, 100)
    found = Vae(network, scale=1.0, device=CPU).decode(latents)
    assert difference(found, expected_picture(latents)) <= 1


def test_what_did_not_fit_is_gone_before_smaller_tiles_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Pointwise(most=50 * 50)
    left: list[int] = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: left.append(sum(each() is not None for each in network.held))
    )
    Vae(network, scale=1.0, device=CPU).decode(torch.randn(1, 3, 100, 100))
    # As a whole, and in tiles of 96 and 64.
    assert left == [0, 0, 0]


def test_a_device_that_cannot_hold_the_smallest_tile_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Vae(Pointwise(most=0), scale=1.0, device=CPU).decode(torch.randn(1, 3, 10, 10))


def test_a_trained_decoder_in_tiles_differs_little_from_the_whole() -> None:
    folder = Path("demo/models/demo-sd15")
    vae = checkpoint.load(folder / "demo-sd15.safetensors", CPU, DigestCache()).autoencoder
    picture = np.asarray(Image.open(folder / "sheet-512.png").convert("RGB"))[:512, :512]
    latents = vae.encode(picture) / vae.scale
    whole, tiled = (tiles.at_once(vae._decode(latents, tile, False)).float() for tile in (None, 48))
    assert float((whole - tiled).abs().mean()) < 1


def test_with_tiling_the_edges_meet(model: Model, latents: torch.Tensor) -> None:
    shifted = torch.roll(latents, (2, 3), dims=(2, 3))
    expected = np.roll(model.decode(latents, tiling=True), (16, 24), axis=(0, 1))
    assert difference(model.decode(shifted, tiling=True), expected) <= 1
    assert difference(model.decode(shifted), expected) > 1


def test_with_tiling_the_edges_of_a_given_picture_meet(model: Model, picture: Pixels) -> None:
    def unlike(*, tiling: bool) -> float:
        rolled = model.encode_image(np.roll(picture, (16, 24), axis=(0, 1)), tiling=tiling)
        expected = torch.roll(model.encode_image(picture, tiling=tiling), (2, 3), dims=(2, 3))
        return float((rolled - expected).abs().max())

    assert unlike(tiling=True) < unlike(tiling=False) / 3


@pytest.fixture
def other() -> Any:
    torch.manual_seed(9)
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    ).eval()


@pytest.mark.parametrize("names", ["LDM's", "LDM's with a prefix", "diffusers'", "a checkpoint's"])
def test_a_file_of_its_own_decodes_instead_whatever_its_names(
    model: Model, other: Any, latents: torch.Tensor, tmp_path: Path, names: str
) -> None:
    state = other.state_dict()
    weights = {
        "LDM's": {**ldm_keys.vae(state, prefix=""), "loss.logvar": torch.zeros(1)},
        "LDM's with a prefix": ldm_keys.vae(state),
        "diffusers'": state,
        "a checkpoint's": {**ldm_keys.vae(state), "model.diffusion_model.x": torch.zeros(1)},
    }[names]
    vae = load_vae(saved(weights, tmp_path), CPU, model)
    expected = (other.decode(latents / 0.18215).sample[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255
    found = model.decode(latents, vae=vae)
    assert difference(found, expected.round().to(torch.uint8).numpy()) <= 1
    assert difference(found, model.decode(latents)) > 1


def test_a_pickled_file_is_read_only_where_that_is_allowed(model: Model, other: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.vae.pt"
    torch.save({"state_dict": ldm_keys.vae(other.state_dict(), prefix="")}, path)
    with pytest.raises(CheckpointError, match=r"^old.vae.pt: a Python pickle"):
        load_vae(path, CPU, model)
    assert load_vae(path, CPU, model, allow_pickles=True).channels == 4


def test_a_file_that_holds_none_is_named(model: Model, tmp_path: Path) -> None:
    path = saved({"lora_unet_a.alpha": torch.zeros(1)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"^other.vae.safetensors: it holds no autoencoder$"):
        load_vae(path, CPU, model)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"latent_channels": 16}, "its latents have 16 channels, those of tiny.safetensors 4"),
        ({"levels": 3}, "its latents are 4 pixels wide, those of tiny.safetensors 8"),
    ],
)
def test_an_autoencoder_that_does_not_fit_is_refused(
    model: Model, tmp_path: Path, shape: dict[str, int], message: str
) -> None:
    levels = shape.get("levels", 4)
    network = AutoencoderKL(
        block_out_channels=(32,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=shape.get("latent_channels", 4),
    )
    path = saved(ldm_keys.vae(network.state_dict(), prefix=""), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_vae(path, CPU, model)


def test_a_missing_tensor_is_named(model: Model, other: Any, tmp_path: Path) -> None:
    path = saved(other.state_dict(), tmp_path)
    weights = load_file(path)
    del weights["decoder.conv_out.bias"]
    with pytest.raises(CheckpointError, match=r"vae: missing tensors .*decoder.conv_out.bias"):
        load_vae(saved(weights, tmp_path), CPU, model)


def test_a_cut_file_is_named(model: Model, other: Any, tmp_path: Path) -> None:
    path = saved(other.state_dict(), tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"^other.vae.safetensors: the header promises"):
        load_vae(path, CPU, model)
