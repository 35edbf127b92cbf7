from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sd_runtime import device
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model
from sd_runtime.models.preview import Previewer

DEMO = Path("demo/models/demo-sd15")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def demo() -> Model:
    return checkpoint.load(DEMO / "demo-sd15.safetensors", device.choose("cpu"), DigestCache())


def test_a_preview_looks_like_the_picture_at_an_eighth_of_its_size(demo: Model) -> None:
    with Image.open(DEMO / "sheet-128.png") as sheet:
        picture = sheet.convert("RGB").crop((0, 0, 128, 128))
    found = Previewer(demo).rgb(demo.encode_image(np.asarray(picture)))
    assert found.shape == (16, 16, 3) and found.dtype == np.uint8
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.BOX)).astype(float)
    assert np.sqrt(np.square(found - expected).mean()) < 10
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


def test_latents_that_are_no_numbers_are_shown_as_something(demo: Model) -> None:
    latents = torch.full((1, 4, 2, 3), float("nan"))
    latents[0, :, 0, 0] = float("inf")
    assert Previewer(demo).rgb(latents).shape == (2, 3, 3)


def test_any_autoencoder_has_a_preview(model: Model) -> None:
    assert Previewer(model).rgb(torch.zeros(1, 4, 5, 6)).shape == (5, 6, 3)
