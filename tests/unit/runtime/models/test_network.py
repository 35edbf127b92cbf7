from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sd_runtime import device
from sd_runtime.errors import UnsupportedError
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model

CPU = device.choose("cpu")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def context() -> torch.Tensor:
    return torch.randn(2, 77, 64, generator=torch.Generator().manual_seed(1))


TIMES = torch.tensor([900.0, 30.5])


def test_the_answer_is_the_networks(model: Model, x: torch.Tensor, context: torch.Tensor) -> None:
    expected = model.unet(x, TIMES, encoder_hidden_states=context).sample
    assert torch.equal(model.predict(x, TIMES, context, None), expected)


def test_further_channels_stand_behind_the_latents(
    checkpoint_file: Path, x: torch.Tensor, context: torch.Tensor, tmp_path: Path
) -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    weights = load_file(checkpoint_file)
    weights[name] = torch.cat([weights[name], torch.zeros(32, 5, 3, 3)], dim=1)
    weights[name][:, 4] = 1
    path = tmp_path / "inpainting.safetensors"
    save_file(weights, path)
    inpainting = checkpoint.load(path, CPU, DigestCache())
    first, second = torch.zeros(2, 5, 8, 12), torch.ones(2, 5, 8, 12)
    plain = checkpoint.load(checkpoint_file, CPU, DigestCache()).predict(x, TIMES, context, None)
    assert torch.allclose(inpainting.predict(x, TIMES, context, None, concat=first), plain, atol=1e-5)
    assert not torch.allclose(inpainting.predict(x, TIMES, context, None, concat=second), plain, atol=1e-2)


def test_with_tiling_the_edges_meet_and_afterwards_no_longer(
    model: Model, x: torch.Tensor, context: torch.Tensor
) -> None:
    shifted = torch.roll(x, (4, 6), dims=(2, 3))

    def unlike(tiling: bool) -> float:
        one = torch.roll(model.predict(x, TIMES, context, None, tiling=tiling), (4, 6), dims=(2, 3))
        other = model.predict(shifted, TIMES, context, None, tiling=tiling)
        return float((one - other).abs().max())

    before = model.predict(x, TIMES, context, None)
    assert unlike(True) < 1e-4 < 1e-2 < unlike(False)
    assert torch.equal(model.predict(x, TIMES, context, None), before)


def test_convolutions_pad_with_zeros_again_after_a_failure(model: Model, x: torch.Tensor) -> None:
    with pytest.raises(RuntimeError):
        model.predict(x, TIMES, torch.zeros(2, 77, 3), None, tiling=True)
    modes = {module.padding_mode for module in model.unet.modules() if isinstance(module, torch.nn.Conv2d)}
    assert modes == {"zeros"}


def test_latents_have_an_eighth_of_the_pictures_sides(model: Model) -> None:
    assert model.latent_shape(width=64, height=128) == (4, 16, 8)


def test_sides_that_fill_no_latents_are_refused(model: Model) -> None:
    with pytest.raises(UnsupportedError, match="height: 100 is not supported; allowed: multiples of 8"):
        model.latent_shape(width=64, height=100)
