"""Stable Diffusion 2 in a single file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from sd_runtime import device
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model
from sd_runtime.models.text import OpenClipEncoder

CPU = device.choose("cpu")
TOKENS = [49406, 320, 1125, 49407, *[49407] * 73]
Networks = dict[str, Any]


@pytest.fixture(scope="module")
def model(sd21_file: Path) -> Model:
    return checkpoint.load(sd21_file, CPU, DigestCache())


def expected_states(network: Any) -> torch.Tensor:
    padded = torch.tensor([[49406, 320, 1125, 49407, *[0] * 73]])
    with torch.inference_mode():
        output = network(padded, output_hidden_states=True)
        states: torch.Tensor = network.text_model.final_layer_norm(output.hidden_states[-2])
    return states


def test_the_family_and_the_network_are_the_files(model: Model, sd21: Networks) -> None:
    assert model.loaded.family == "SD21"
    mine, theirs = model.unet.state_dict(), sd21["unet"].state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_texts_are_the_states_before_the_last_layer_normed_and_padded_with_zero(
    model: Model, sd21: Networks
) -> None:
    with torch.inference_mode():
        (states,) = model.text.encode([TOKENS], 1).states
    assert torch.allclose(states, expected_states(sd21["text_encoder"]), atol=1e-5)


def test_the_unused_last_layer_takes_no_memory(model: Model) -> None:
    assert model.text.layers == 2


def test_a_text_encoder_under_transformers_names_is_told_by_the_width_of_the_context(
    sd21_weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weights = {
        name: value for name, value in sd21_weights.items() if not name.startswith("cond_stage_model.")
    }
    for name, value in weights.items():
        if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            weights[name] = torch.cat([value] * 8, dim=1)
    small = CLIPTextConfig(
        vocab_size=100, hidden_size=1024, intermediate_size=32, num_hidden_layers=2, num_attention_heads=16
    )
    for name, value in CLIPTextModel(small).state_dict().items():
        weights[f"cond_stage_model.transformer.text_model.{name}"] = value
    path = tmp_path / "renamed.safetensors"
    save_file(weights, path, metadata={"modelspec.prediction_type": "epsilon"})
    model = checkpoint.load(path, CPU, DigestCache())
    assert model.loaded.family == "SD21"
    assert isinstance(model.text, OpenClipEncoder)
    assert model.text.network.config.hidden_act == "gelu"


@pytest.mark.parametrize(
    ("mark", "kind", "reason"),
    [
        ("yaml", "v", "parameterization in marked.yaml"),
        ("metadata", "v", "the file's modelspec.prediction_type"),
        ("key", "v", "the file's key v_pred"),
    ],
)
def test_a_mark_tells_what_the_network_predicts(
    sd21_weights: dict[str, torch.Tensor], tmp_path: Path, mark: str, kind: str, reason: str
) -> None:
    path = tmp_path / "marked.safetensors"
    weights = {**sd21_weights, **({"v_pred": torch.zeros(0)} if mark == "key" else {})}
    save_file(weights, path, metadata={"modelspec.prediction_type": "v"} if mark == "metadata" else None)
    if mark == "yaml":
        path.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    loaded = checkpoint.load(path, CPU, DigestCache()).loaded
    assert (loaded.prediction, loaded.prediction_reason) == (kind, reason)


def test_without_a_mark_the_network_is_asked(model: Model) -> None:
    assert model.loaded.prediction_reason.startswith("measured: ")
