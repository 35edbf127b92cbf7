"""The plugin `upscale` with the small network that the demo ships."""

import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage import data

from sd_plugin import settings, shelves
from sd_plugin.contract import ModuleDescription
from sd_plugin.errors import ModuleFailed, ModuleUnavailable, TooLarge
from sd_plugin.module import Module, Pixels, Plugin
from sd_plugin.plugins import upscale
from sd_plugin.plugins.upscale import gallery

SMALL = Path(__file__).parents[4] / "demo" / "models" / "upscalers" / "realesr-animevideov3-x4.safetensors"
PICTURE: Pixels = np.ascontiguousarray(data.astronaut()[80:176, 180:310])
DEFAULTS = {"tile": 192, "overlap": 8}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty volume, looked at anew each time."""
    monkeypatch.setenv(settings.MODELS, str(tmp_path))
    monkeypatch.setattr(shelves, "_FRESH_SECONDS", 0.0)
    return tmp_path


def put(root: Path, name: str = "small.safetensors", folder: str = "ESRGAN") -> Path:
    path = root / "models" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SMALL, path)
    return path


def named(plugin: Plugin, name: str) -> Module:
    return next(each for each in plugin.modules if each.description.name == name)


def until(true: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not become true within 5 s")


def said(plugin: Plugin) -> dict[str, ModuleDescription]:
    """What it says of its modules once it has looked into all files, by their names."""
    until(lambda: not any("being looked into" in each.reason for each in plugin.describe().modules))
    return {each.name: each for each in plugin.describe().modules}


def test_without_a_file_it_is_ready_and_says_what_it_wants(root: Path) -> None:
    described = upscale.plugin().describe()
    assert (described.name, described.kind) == ("upscale", "Upscaler")
    (only,) = described.modules
    assert not only.available
    assert "models/ESRGAN" in only.reason
    assert "type Upscaler" in only.reason
    with pytest.raises(ModuleUnavailable, match="RealESRGAN_x4plus"):
        upscale.plugin().modules[0].run(PICTURE, None, DEFAULTS)


def test_every_file_is_a_module_with_the_factor_of_its_network(root: Path) -> None:
    put(root, "4x Foo (v2).safetensors")
    put(root, "RealESRGAN_x4plus.safetensors", folder="RealESRGAN")
    found = said(upscale.plugin())
    assert list(found) == ["4x-foo-v2-", "realesrgan_x4plus"]
    assert found["4x-foo-v2-"].label == "4x Foo (v2)"
    assert found["realesrgan_x4plus"].label == "R-ESRGAN 4x+"
    assert "RealESRGAN_x4plus.safetensors" in found["realesrgan_x4plus"].aliases
    assert all((each.factor, each.available) == (4, True) for each in found.values())


def test_the_result_is_exactly_as_many_times_as_large_and_looks_like_the_picture(root: Path) -> None:
    put(root)
    made = named(upscale.plugin(), "small").run(PICTURE.copy(), None, DEFAULTS).image
    assert (made.shape, made.dtype) == ((384, 520, 3), np.uint8)
    smaller = made.reshape(96, 4, 130, 4, 3).mean((1, 3))
    # Shifted by a point it would be 10, with red and blue exchanged 32.
    assert np.abs(smaller - PICTURE).mean() < 6


def test_tiles_leave_no_seam(root: Path) -> None:
    put(root)
    module = named(upscale.plugin(), "small")
    whole = module.run(PICTURE.copy(), None, DEFAULTS).image.astype(int)
    tiled = module.run(PICTURE.copy(), None, {"tile": 64, "overlap": 16}).image.astype(int)
    assert np.abs(whole - tiled).max() <= 30
    assert np.abs(whole - tiled).mean() < 0.3


def test_a_result_of_too_many_pixels_is_refused_before_anything_is_computed(root: Path) -> None:
    put(root)
    picture = np.zeros((4096, 4096, 3), np.uint8)
    with pytest.raises(TooLarge, match=r"4096x4096 enlarged 4 times .* at most 67108864 pixels"):
        named(upscale.plugin(), "small").run(picture, None, DEFAULTS)


def test_files_that_come_and_go_while_it_runs_are_noticed(root: Path) -> None:
    plugin = upscale.plugin()
    path = put(root)
    until(lambda: [each.name for each in plugin.describe().modules if each.available] == ["small"])
    assert named(plugin, "small").run(PICTURE.copy(), None, DEFAULTS).image.shape == (384, 520, 3)
    path.unlink()
    assert not plugin.describe().modules[0].available


def test_a_pickle_of_tensors_is_read_and_one_that_runs_something_is_not(root: Path, tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    folder = put(root).parent
    torch.save({"params": load_file(SMALL)}, folder / "plain.pth")
    (folder / "evil.pth").write_bytes(pickle.dumps(Command()))
    torch.save({"params": Command()}, folder / "sly.pth")
    found = said(upscale.plugin())
    assert {name: each.available for name, each in found.items()} == {
        "evil": False,
        "plain": True,
        "sly": False,
        "small": True,
    }
    assert found["sly"].reason.startswith("sly.pth: a pickle that names posix.system")
    assert not (tmp_path / "ran").exists()


def test_a_file_of_something_else_is_listed_with_the_reason(root: Path) -> None:
    folder = put(root).parent
    (folder / "page.pth").write_text("<html>not found</html>")
    torch.save({"weight": torch.zeros(3, 3)}, folder / "other.pth")
    found = said(upscale.plugin())
    assert found["page"].reason.startswith("page.pth: ")
    assert found["other"].reason.startswith("other.pth: no upscaler of an architecture that is known")
    with pytest.raises(ModuleUnavailable, match=r"other\.pth"):
        named(upscale.plugin(), "other").run(PICTURE, None, DEFAULTS)


def test_values_that_are_no_numbers_fail_the_run_and_name_the_file(root: Path) -> None:
    path = put(root)
    broken = {name: each.float() * torch.inf for name, each in load_file(SMALL).items()}
    torch.save(broken, path.with_name("broken.pth"))
    with pytest.raises(ModuleFailed, match=r"broken\.pth: the network gives values that are not finite"):
        named(upscale.plugin(), "broken").run(PICTURE, None, DEFAULTS)


def test_names_of_files_cannot_make_the_description_break_the_contract(root: Path) -> None:
    put(root, "4x\u00a0nbsp.safetensors")
    put(root, f"{'ß' * 110}.safetensors")
    for found in said(upscale.plugin()).values():
        assert found.available
        for words in (found.label, *found.aliases):
            assert words.isprintable()
            assert 1 <= len(words) <= 100


def test_there_are_no_more_modules_than_the_contract_allows(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery.networks, "load", lambda _: SimpleNamespace(factor=4))
    folder = root / "models/ESRGAN"
    folder.mkdir(parents=True)
    for number in range(130):
        (folder / f"x{number}.pth").touch()
    assert len(upscale.plugin().describe().modules) == 128
