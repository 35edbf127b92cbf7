"""A ControlNet's file becomes the network that it was saved from, whatever its layout; others are refused
with what they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file

from demo.export import ldm_keys
from sd_runtime import device
from sd_runtime.errors import CheckpointError, UnsupportedError
from sd_runtime.models import controlnet
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def network(networks: tuple[Any, Any, Any]) -> Any:
    torch.manual_seed(3)
    made = ControlNetModel.from_unet(networks[0])
    with torch.no_grad():
        for weight in made.parameters():
            if not weight.any():
                weight.normal_(0, 0.1)
    return made.eval()


def save(weights: Weights, path: Path) -> Path:
    save_file({name: value.detach().clone().contiguous() for name, value in weights.items()}, path)
    return path


def load(path: Path, model: Model, **policy: bool) -> controlnet.ControlNet:
    plan = controlnet.examine(path, model, **{"allow_pickles": False, **policy})
    return controlnet.load(plan, device.choose("cpu"), DigestCache())


def ldm(network: Any) -> Weights:
    return ldm_keys.controlnet(network.state_dict())


LAYOUTS = {
    "LDM": ldm,
    "LDM, without its prefix": lambda net: {
        name.removeprefix("control_model."): value for name, value in ldm(net).items()
    },
    "LDM, beside the checkpoint": lambda net: (
        ldm(net)
        | {"model.diffusion_model.out.0.weight": torch.zeros(4), "first_stage_model.x.weight": torch.zeros(4)}
    ),
    "diffusers": lambda net: net.state_dict(),
}


@torch.inference_mode()
def said(net: controlnet.ControlNet) -> list[torch.Tensor]:
    x, t, context, map_ = example()
    return net.say(x, t, context, None, net.embed(map_, tiling=False), tiling=False)


def example() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return torch.randn(1, 4, 8, 8), torch.tensor([300.0]), torch.randn(1, 77, 64), torch.rand(1, 3, 64, 64)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_says_what_the_network_says_that_was_saved(
    network: Any, model: Model, tmp_path: Path, layout: str
) -> None:
    net = load(save(LAYOUTS[layout](network), tmp_path / "net.safetensors"), model)
    x, t, context, map_ = example()
    with torch.inference_mode():
        down, middle = network(x, t, context, map_, return_dict=False)
    for ours, theirs in zip(said(net), [*down, middle], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert float(theirs.abs().max()) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read(network: Any, model: Model, tmp_path: Path, dtype: torch.dtype) -> None:
    half = {name: value.to(dtype) for name, value in ldm(network).items()}
    net = load(save(half, tmp_path / "half.safetensors"), model)
    whole = load(save(ldm(network), tmp_path / "whole.safetensors"), model)
    for ours, theirs in zip(said(net), said(whole), strict=True):
        assert torch.allclose(ours, theirs, atol=0.05 * float(theirs.abs().max()))


def test_pickles_are_read_where_they_are_allowed(network: Any, model: Model, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({name: value.detach() for name, value in ldm(network).items()}, path)
    load(path, model, allow_pickles=True)
    with pytest.raises(CheckpointError, match=r"net\.pth: a Python pickle.*SD_ALLOW_PICKLES"):
        load(path, model)


def test_a_name_with_shuffle_says_the_same_all_over_the_picture(
    network: Any, model: Model, tmp_path: Path
) -> None:
    assert load(save(ldm(network), tmp_path / "control_Shuffle.safetensors"), model).pools
    assert not load(save(ldm(network), tmp_path / "control_canny.safetensors"), model).pools


ONE = torch.zeros(4, 4)
STRANGERS: dict[str, tuple[Any, str]] = {
    "T2I-Adapter": (lambda net: {"body.0.block1.weight": ONE}, "a T2I-Adapter is not served"),
    "Control-LoRA": (lambda net: ldm(net) | {"lora_controlnet": ONE}, "a Control-LoRA is not served"),
    "IP-Adapter": (lambda net: {"ip_adapter.1.to_k_ip.weight": ONE}, "an? IP-Adapter is not served"),
    "union": (lambda net: net.state_dict() | {"task_embedding": ONE}, "ControlNet-Union.*is not served"),
    "difference": (lambda net: ldm(net) | {"difference": ONE}, "difference.*is not served"),
    "checkpoint": (lambda net: {"model.diffusion_model.out.2.weight": ONE}, "no ControlNet"),
    "one more": (lambda net: ldm(net) | {"control_model.more.weight": ONE}, "unexpected tensors.*more"),
    "one less": (
        lambda net: {name: value for name, value in ldm(net).items() if "zero_convs.1.0.bias" not in name},
        "missing tensors.*controlnet_down_blocks.1.bias",
    ),
    "no middle": (
        lambda net: {name: value for name, value in ldm(net).items() if "middle_block.1" not in name},
        r"middle_block\.1 has no attention",
    ),
    "map of one channel": (
        lambda net: ldm(net) | {"control_model.input_hint_block.0.weight": torch.zeros(16, 1, 3, 3)},
        "its map has 1 channels",
    ),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_others_are_refused_with_what_they_are(network: Any, model: Model, tmp_path: Path, kind: str) -> None:
    make, told = STRANGERS[kind]
    path = save(make(network), tmp_path / "stranger.safetensors")
    with pytest.raises(CheckpointError, match=rf"(?s)stranger\.safetensors: .*{told}"):
        load(path, model)


def test_one_of_another_size_is_refused_with_what_is_different(model: Model, tmp_path: Path) -> None:
    small = ControlNetModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=8,
    )
    with pytest.raises(UnsupportedError, match=r"\(32, 32\).*SD15.*\(32, 64\)"):
        load(save(ldm_keys.controlnet(small.state_dict()), tmp_path / "small.safetensors"), model)


def test_one_of_sdxl_is_refused_by_its_header_alone(network: Any, model: Model, tmp_path: Path) -> None:
    weights = ldm(network) | {"control_model.label_emb.0.0.weight": torch.zeros(8, 8)}
    with pytest.raises(UnsupportedError, match=r"(?s)xl \(SDXL\).*SD15"):
        load(save(weights, tmp_path / "xl.safetensors"), model)
