from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sd_runtime import device
from sd_runtime.errors import CheckpointError, GenerationError, UnsupportedError
from sd_runtime.models import tiles, upscaler
from sd_runtime.models.upscaler import Upscalers
from sd_runtime.models.vae import Pixels

CPU = device.choose("cpu")
FILE = Path("demo/models/upscalers/realesr-animevideov3-x4.safetensors")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def picture() -> Pixels:
    with Image.open("demo/models/demo-sd15/sheet-128.png") as sheet:
        return np.asarray(sheet.convert("RGB"))[:96, :120]


@pytest.fixture(scope="module")
def upscalers() -> Upscalers:
    return Upscalers(CPU)


def test_a_picture_becomes_larger_by_the_networks_factor_and_stays_the_same_picture(
    upscalers: Upscalers, picture: Pixels
) -> None:
    larger = upscalers.upscale(FILE, picture)
    assert upscalers.scale(FILE) == 4
    assert larger.shape == (384, 480, 3) and larger.dtype == np.uint8
    small = np.asarray(Image.fromarray(larger).resize((120, 96), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - picture).mean() < 4


@pytest.mark.parametrize("tile", [48, 64])
def test_tiles_leave_no_seam(upscalers: Upscalers, picture: Pixels, tile: int) -> None:
    whole = upscalers.upscale(FILE, picture, tile=0).astype(int)
    tiled = upscalers.upscale(FILE, picture, tile=tile, overlap=8)
    assert np.abs(whole - tiled).mean() < 0.2
    assert np.quantile(np.abs(whole - tiled), 0.999) <= 8


def test_a_picture_is_computed_a_tile_at_a_time(upscalers: Upscalers, picture: Pixels) -> None:
    seen: list[torch.Tensor] = []
    network = upscalers._network(FILE)
    hook = network.model.register_forward_hook(lambda *args: seen.append(args[2]))
    try:
        work = upscalers.tiles(FILE, picture, tile=64)
        for done in range(1, 5):
            next(work)
            assert len(seen) == done
        assert np.array_equal(tiles.at_once(work), upscalers.upscale(FILE, picture, tile=64))
    finally:
        hook.remove()


@pytest.mark.parametrize("tile", [-1, 1, 31])
def test_tiles_that_would_take_hours_are_refused_at_once(
    upscalers: Upscalers, picture: Pixels, tile: int
) -> None:
    with pytest.raises(UnsupportedError, match=f"ESRGAN_tile: {tile} .*0 .* or 32 pixels or more"):
        upscalers.tiles(FILE, picture, tile=tile)


def test_a_result_that_would_fill_the_memory_is_refused_before_it_is_begun(upscalers: Upscalers) -> None:
    pixels = np.broadcast_to(np.uint8(0), (4200, 4200, 3))
    with pytest.raises(UnsupportedError, match=r"upscaler: '16800x16800' .* 268435456 pixels"):
        next(upscalers.tiles(FILE, pixels))


@pytest.mark.parametrize(
    ("size", "side"), [((300, 400), 400), ((512, 512), 512), ((100, 2000), 2000), ((600, 600), 512)]
)
def test_only_a_small_picture_is_computed_as_a_whole(size: tuple[int, int], side: int) -> None:
    assert upscaler._whole(np.zeros((*size, 3), np.uint8)) == side


class Short:
    """A network on a device with room for little, that counts what is in it."""

    scale = 1
    dtype = torch.float32

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: list[weakref.ref[torch.Tensor]] = []
        self.sizes: list[int] = []

    def __call__(self, shades: torch.Tensor) -> torch.Tensor:
        activations = shades + 0
        self.held.append(weakref.ref(activations))
        self.sizes.append(shades.shape[-1])
        if shades.shape[-1] > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return activations


def test_a_device_that_runs_out_of_memory_is_emptied_and_gets_smaller_tiles(
    picture: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Short(most=64)
    upscalers = Upscalers(CPU)
    monkeypatch.setattr(upscalers, "_network", lambda path: network)
    left: list[int] = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: left.append(sum(each() is not None for each in network.held))
    )
    assert np.array_equal(upscalers.upscale(FILE, picture), picture)
    assert network.sizes[0] > 64 and max(network.sizes[1:]) <= 64
    assert left == [0]


@pytest.mark.parametrize("size", [(1, 1), (3, 97)])
def test_pictures_of_any_size_are_taken(upscalers: Upscalers, size: tuple[int, int]) -> None:
    assert upscalers.upscale(FILE, np.zeros((*size, 3), np.uint8)).shape == (4 * size[0], 4 * size[1], 3)


def test_a_pickled_file_gives_the_same_where_it_is_allowed(
    upscalers: Upscalers, picture: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "upscaler.pth"
    torch.save({"params_ema": load_file(FILE)}, path)
    with pytest.raises(CheckpointError, match=r"^upscaler.pth: a Python pickle"):
        upscalers.upscale(path, picture)
    found = Upscalers(CPU, allow_pickles=True).upscale(path, picture)
    assert np.array_equal(found, upscalers.upscale(FILE, picture))


def test_a_file_that_changed_is_read_again(picture: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "upscaler.safetensors"
    weights = load_file(FILE)
    save_file(weights, path)
    upscalers = Upscalers(CPU)
    before = upscalers.upscale(path, picture)
    save_file({name: value * 0.5 for name, value in weights.items()}, path)
    assert not np.array_equal(upscalers.upscale(path, picture), before)


def test_a_network_that_is_used_again_is_not_read_again(picture: Pixels, tmp_path: Path) -> None:
    upscalers = Upscalers(CPU)
    assert upscalers._network(FILE) is upscalers._network(FILE)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lora_unet_a.alpha": torch.zeros(1)}, "no upscaler of an architecture that is known"),
        ({"body.0.weight": torch.zeros(3)}, "no upscaler of an architecture that is known"),
    ],
)
def test_a_file_that_is_none_is_named(
    upscalers: Upscalers, picture: Pixels, tmp_path: Path, weights: dict[str, torch.Tensor], message: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=f"^other.safetensors: {message}"):
        upscalers.upscale(path, picture)


def test_a_missing_file_is_named(upscalers: Upscalers, picture: Pixels) -> None:
    with pytest.raises(CheckpointError, match=r"^absent.pth: cannot be read"):
        upscalers.upscale(Path("absent.pth"), picture)


def test_values_that_are_no_numbers_are_an_error(picture: Pixels, tmp_path: Path) -> None:
    weights = load_file(FILE)
    weights["body.0.bias"][0] = float("nan")
    path = tmp_path / "broken.safetensors"
    save_file(weights, path)
    with pytest.raises(GenerationError, match=r"the upscaler broken.safetensors gives values"):
        Upscalers(CPU).upscale(path, picture)
