from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sd_runtime import device
from sd_runtime.errors import CheckpointError, CheckpointUnavailable
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model

CPU = device.choose("cpu")
EPSILON = {"prediction_type": "epsilon", "beta_schedule": "scaled_linear"}
Networks = dict[str, Any]
WriteFolder = Callable[..., Path]


def load(folder: Path) -> Model:
    return checkpoint.load(folder, CPU, DigestCache())


def same(ours: Any, theirs: Any) -> bool:
    mine, other = ours.state_dict(), theirs.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def sd15(networks: tuple[Any, Any, Any]) -> Networks:
    return dict(zip(("unet", "vae", "text_encoder"), networks, strict=True))


def test_a_folder_of_stable_diffusion_1_is_loaded(sd15: Networks, write_folder: WriteFolder) -> None:
    model = load(write_folder(sd15))
    assert model.loaded.family == "SD15"
    assert same(model.unet, sd15["unet"]) and same(model.vae, sd15["vae"])
    assert same(model.text.network, sd15["text_encoder"])  # type: ignore[attr-defined]


def test_a_folder_of_sdxl_is_loaded(sdxl: Networks, write_folder: WriteFolder) -> None:
    model = load(write_folder(sdxl, EPSILON))
    assert model.loaded.family == "SDXL"
    assert same(model.unet, sdxl["unet"])
    assert same(model.text.first, sdxl["text_encoder"])  # type: ignore[attr-defined]
    assert same(model.text.second, sdxl["text_encoder_2"])  # type: ignore[attr-defined]


def test_a_folder_of_stable_diffusion_2_is_told_by_its_text_encoder(
    sd21: Networks, write_folder: WriteFolder
) -> None:
    text = sd21["text_encoder"].text_model
    model = load(write_folder({**sd21, "text_encoder": text}, {"prediction_type": "v_prediction"}))
    assert (model.loaded.family, model.prediction) == ("SD21", "v")
    assert model.loaded.prediction_reason == "prediction_type in scheduler/scheduler_config.json"


def test_weights_in_shards_are_read_together(sd15: Networks, write_folder: WriteFolder) -> None:
    folder = write_folder(sd15, max_shard_size="2MB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    assert same(load(folder).unet, sd15["unet"])


def test_the_half_precision_variant_serves_where_there_is_no_other(
    sd15: Networks, write_folder: WriteFolder
) -> None:
    folder = write_folder(sd15)
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole.rename(whole.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert same(load(folder).unet, sd15["unet"])


def test_old_names_of_the_autoencoders_attention_are_understood(
    sd15: Networks, write_folder: WriteFolder
) -> None:
    folder = write_folder(sd15)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, value in load_file(path).items():
        for new, former in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        renamed[name] = value
    save_file(renamed, path)
    assert same(load(folder).vae, sd15["vae"])


def test_the_digest_is_that_of_the_library_and_changes_with_a_weight(
    sd15: Networks, write_folder: WriteFolder
) -> None:
    folder = write_folder(sd15)
    before = load(folder).loaded.sha256
    assert before == DigestCache().compute_folder(folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.bias"] += 1
    save_file(weights, path)
    assert load(folder).loaded.sha256 == DigestCache().compute_folder(folder) != before


def test_betas_that_the_engine_does_not_know_are_refused(sd15: Networks, write_folder: WriteFolder) -> None:
    folder = write_folder(sd15, {"beta_schedule": "linear"})
    with pytest.raises(CheckpointError, match=r"^in-parts: scheduler_config.json: betas linear .*supported"):
        load(folder)


def test_a_missing_tensor_is_named(sd15: Networks, write_folder: WriteFolder) -> None:
    folder = write_folder(sd15)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != "conv_in.bias"}, path)
    with pytest.raises(CheckpointError, match=r"^in-parts: unet: missing tensors .*conv_in.bias"):
        load(folder)


def without_an_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def without_a_network(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def with_a_transformer(folder: Path) -> None:
    (folder / "unet").rename(folder / "transformer")
    edit(folder / "model_index.json", _class_name="FluxPipeline")


def with_another_autoencoder(folder: Path) -> None:
    edit(folder / "vae" / "config.json", _class_name="AutoencoderTiny")


def with_a_broken_configuration(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def with_a_senseless_configuration(folder: Path) -> None:
    edit(folder / "unet" / "config.json", down_block_types=["NoSuchBlock"] * 2)


def with_a_cut_file(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("fault", "message", "may_pass"),
    [
        (without_an_index, "in-parts/model_index.json is missing", True),
        (without_a_network, "unet: no file of weights named as diffusers does", False),
        (with_a_transformer, "model_index.json: 'FluxPipeline' is not supported", False),
        (with_another_autoencoder, "vae/config.json: 'AutoencoderTiny' is not supported", False),
        (with_a_broken_configuration, "unet/config.json: not JSON", False),
        (with_a_senseless_configuration, "unet: cannot be built from its configuration", False),
        (with_a_cut_file, "diffusion_pytorch_model.safetensors: the header promises", False),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_is_named(
    sd15: Networks,
    write_folder: WriteFolder,
    fault: Callable[[Path], None],
    message: str,
    may_pass: bool,
) -> None:
    folder = write_folder(sd15)
    fault(folder)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert str(caught.value).startswith(f"in-parts: {message}")
    assert isinstance(caught.value, CheckpointUnavailable) is may_pass
