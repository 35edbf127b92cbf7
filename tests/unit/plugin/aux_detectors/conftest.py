"""Files of weights with the right names and shapes. Their numbers are of chance, and repeated, so that files
of networks with hundreds of megabytes are small; the networks and all that is around them are real."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sd_plugin import settings, shelves
from sd_plugin.module import Plugin
from sd_plugin.plugins import aux_detectors
from sd_plugin.plugins.aux_detectors import library
from sd_plugin.plugins.aux_detectors.networks import NETWORKS

Weights = dict[str, torch.Tensor]
Write = Callable[..., Path]

#: How the published files hold their tensors.
_WRAPPED: Mapping[str, Callable[[Weights], Any]] = {
    "pidinet": lambda held: {
        "epoch": 19,
        "state_dict": {f"module.{name}": each for name, each in held.items()},
    },
    "normal_bae": lambda held: {"model": held},
    "leres": lambda held: {"depth_model": {f"module.{name}": each for name, each in held.items()}},
    "lineart_anime": lambda held: {f"module.{name}": each for name, each in held.items()},
    "zoe": lambda held: {"model": held},
}


def of_chance(network: str) -> Weights:
    """Tensors of the network's names and shapes."""
    with torch.device("meta"), library.quiet():
        shapes = {name: each.shape for name, each in NETWORKS[network].build().state_dict().items()}
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(shape[-1:], generator=generator).sub(0.4).mul(0.1).expand(shape)
        for name, shape in shapes.items()
    }


@pytest.fixture
def annotators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that weights are looked for in, anew each time."""
    folder = tmp_path / "volume" / "models" / "Annotators"
    folder.mkdir(parents=True)
    monkeypatch.setenv(settings.MODELS, f"{tmp_path / 'other'}:{tmp_path / 'volume'}")
    monkeypatch.setattr(shelves, "_FRESH_SECONDS", 0.0)
    return folder


@pytest.fixture
def write(annotators: Path) -> Write:
    """Writes a network's file: `write("hed")`, or another `name`, or other `tensors`."""

    def put(network: str, *, name: str | None = None, tensors: Weights | None = None) -> Path:
        held = of_chance(network) if tensors is None else tensors
        path = annotators / (name or NETWORKS[network].file)
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".safetensors":
            save_file({each: tensor.contiguous() for each, tensor in held.items()}, path)
        else:
            torch.save(_WRAPPED.get(network, dict)(held), path)
        return path

    return put


@pytest.fixture
def plugin(annotators: Path) -> Plugin:
    """The plugin, with nothing in the folder yet."""
    return aux_detectors.plugin()
