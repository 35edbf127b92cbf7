"""Upscalers by A1111's names for them."""

import pytest
import small_files

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import upscalers
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins


@pytest.fixture
def library(tmp_path):
    for folder, name in (
        ("ESRGAN", "4x-UltraSharp"),
        ("ESRGAN", "soft"),
        ("RealESRGAN", "RealESRGAN_x4plus_anime_6B"),
        ("RealESRGAN", "RealESRGAN_x2plus"),
    ):
        path = tmp_path / "models" / folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_files.of(ModelType.UPSCALER))
    return Library([tmp_path])


def test_those_without_a_file_are_listed_first_and_well_known_files_by_a1111s_names(library):
    assert [(each.name, each.scale) for each in upscalers.all_of(library, Plugins())] == [
        ("None", 4),
        ("Lanczos", 4),
        ("Nearest", 4),
        ("4x-UltraSharp", 4),
        ("R-ESRGAN 2x+", 2),
        ("R-ESRGAN 4x+ Anime6B", 4),
        ("soft", 4),
    ]


@pytest.mark.parametrize(
    ("name", "meant", "file"),
    [
        (None, "None", None),
        ("", "None", None),
        ("none", "None", None),
        ("Lanczos", "Lanczos", None),
        ("nearest", "Nearest", None),
        ("4x-UltraSharp", "4x-UltraSharp", "4x-UltraSharp.safetensors"),
        ("4x-ultrasharp.safetensors", "4x-UltraSharp", "4x-UltraSharp.safetensors"),
        ("R-ESRGAN 4x+ Anime6B", "R-ESRGAN 4x+ Anime6B", "RealESRGAN_x4plus_anime_6B.safetensors"),
        ("RealESRGAN_x4plus_anime_6B", "R-ESRGAN 4x+ Anime6B", "RealESRGAN_x4plus_anime_6B.safetensors"),
    ],
)
def test_an_upscaler_is_found_by_its_names(library, name, meant, file):
    found = upscalers.find(library, Plugins(), "upscaler_1", name, tile=64, overlap=4)
    assert (found.name, found.path and found.path.name) == (meant, file)
    if file:
        assert (found.tile, found.overlap) == (64, 4)


@pytest.mark.parametrize("name", ["R-ESRGAN 4x+", "SwinIR_4x", "Latent"])
def test_one_that_is_not_there_is_refused_with_those_that_are(library, name):
    with pytest.raises(UnsupportedError, match="upscaler_2") as caught:
        upscalers.find(library, Plugins(), "upscaler_2", name)
    assert "Lanczos, Nearest, 4x-UltraSharp, R-ESRGAN 2x+" in caught.value.allowed


@pytest.mark.parametrize(
    ("stem", "scale"),
    [
        ("4x_foo", 4),
        ("foo-x2", 2),
        ("realesr-animevideov3-x3", 3),
        ("1x_DeJPEG", 1),
        ("foo", 4),
        ("max2000", 4),
    ],
)
def test_the_scale_is_read_from_the_name(tmp_path, stem, scale):
    path = tmp_path / "models" / "ESRGAN" / f"{stem}.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(small_files.of(ModelType.UPSCALER))
    (entry,) = upscalers.with_files(Library([tmp_path]))
    assert entry.scale == scale
