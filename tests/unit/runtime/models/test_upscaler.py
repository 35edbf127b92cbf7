from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sd_runtime import device
from sd_runtime.errors import CheckpointError, GenerationError
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
