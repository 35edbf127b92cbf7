"""The exported file has the original layout: diffusers' own converters read back exactly what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel

from model import export, latent_scale, ldm_keys, networks


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
    ).eval()


def tiny_unet(coarsest_attends: bool) -> UNet2DConditionModel:
    down, up = (
        ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D") if coarsest_attends else ("DownBlock2D", "UpBlock2D")
    )
    return UNet2DConditionModel(
        block_out_channels=(32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", down),
        up_block_types=(up, "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=64,
        attention_head_dim=8,
    )


def assert_same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [key for key in left if not torch.equal(left[key], right[key])] == []


@pytest.mark.parametrize("coarsest_attends", [True, False])
def test_unet_weights_survive_the_round_trip(coarsest_attends: bool) -> None:
    unet = tiny_unet(coarsest_attends)
    assert_same(
        convert_ldm_unet_checkpoint(ldm_keys.unet(unet.state_dict()), dict(unet.config)), unet.state_dict()
    )


def test_vae_weights_survive_the_round_trip() -> None:
    vae = tiny_vae()
    assert_same(
        convert_ldm_vae_checkpoint(ldm_keys.vae(vae.state_dict()), dict(vae.config)), vae.state_dict()
    )


def test_text_weights_survive_the_round_trip_with_and_without_their_prefix() -> None:
    config = CLIPTextConfig(vocab_size=64, hidden_size=64, intermediate_size=256, num_hidden_layers=1)
    weights = CLIPTextModel(config).state_dict()
    bare = {key.removeprefix("text_model."): value for key, value in weights.items()}
    prefixed = {f"text_model.{key}": value for key, value in bare.items()}
    for given in (bare, prefixed):
        assert_same(convert_ldm_clip_checkpoint(ldm_keys.text(given)), prefixed)


@pytest.mark.parametrize("key", ["down_blocks.0.motion.0.weight", "down_blocks.0.resnets.0.norm9.weight"])
def test_an_unknown_weight_is_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match=key.rpartition(".")[0].rpartition(".")[2]):
        ldm_keys.unet({key: torch.zeros(1)})


def test_folding_the_latent_scale_changes_latents_as_asked_and_no_picture() -> None:
    vae = tiny_vae()
    pixels = torch.rand(2, 3, 32, 32)
    mean, deviation = torch.tensor([0.1, -0.2, 0.3, 1.0]), torch.tensor([0.5, 1.0, 2.0, 3.0])
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        picture = vae.decode(before.mean).sample
        latent_scale.fold(vae, mean, deviation)
        after = vae.encode(pixels).latent_dist
        again = vae.decode(after.mean).sample
    column = (slice(None), None, None)
    scaled = (before.mean - mean[column]) / deviation[column] / networks.SCALING_FACTOR
    torch.testing.assert_close(after.mean, scaled, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.std, before.std / deviation[column] / networks.SCALING_FACTOR)
    torch.testing.assert_close(again, picture, atol=1e-4, rtol=1e-4)


def test_the_shipped_file_is_the_one_its_manifest_names() -> None:
    folder = Path(export.__file__).parent
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / manifest["file"]).read_bytes()
    assert len(content) == manifest["size"] <= 20_000_000
    assert hashlib.sha256(content).hexdigest() == manifest["sha256"]
