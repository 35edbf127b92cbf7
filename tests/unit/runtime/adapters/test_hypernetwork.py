"""Hypernetworks do what A1111's rule says, whatever their layers, and what is not understood is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sd_runtime.adapters.patching import Adapters
from sd_runtime.errors import UnsupportedError
from tests.unit.runtime.adapters import made
from tests.unit.runtime.adapters.made import difference, hypernet


def _layers(
    width: int,
    structure: Sequence[float],
    activation: nn.Module | None,
    *,
    norm: bool,
    last: bool,
    dropout: bool,
) -> nn.Sequential:
    """As A1111 joins them: linear, activation, normalisation, dropout."""
    layers: list[nn.Module] = []
    sides = [int(width * multiple) for multiple in structure]
    for index in range(len(sides) - 1):
        layers.append(nn.Linear(sides[index], sides[index + 1]))
        if activation is not None and (last or index < len(sides) - 2):
            layers.append(activation)
        if norm:
            layers.append(nn.LayerNorm(sides[index + 1]))
        if dropout and index < len(sides) - 2:
            layers.append(nn.Dropout(0.3))
    return nn.Sequential(*layers).requires_grad_(False).eval()


def write_hypernetwork(
    path: Path,
    widths: Sequence[int],
    *,
    structure: Sequence[float] = (1, 2, 1),
    activation: str | None = "relu",
    module: nn.Module | None = None,
    norm: bool = False,
    last: bool | None = False,
    dropout: bool = False,
    seed: int = 5,
) -> dict[int, tuple[nn.Sequential, nn.Sequential]]:
    """A file as A1111's trainer writes it, and the networks in it. `last` None: from before there was a
    choice."""
    torch.manual_seed(seed)
    if module is None and activation == "relu":
        module = nn.ReLU()
    pairs: dict[int, tuple[nn.Sequential, nn.Sequential]] = {}
    for width in widths:
        keys, values = (
            _layers(width, structure, module, norm=norm, last=last is not False, dropout=dropout)
            for _ in range(2)
        )
        pairs[width] = keys, values
    stored: dict[Any, Any] = {
        width: [{f"linear.{name}": value for name, value in part.state_dict().items()} for part in pair]
        for width, pair in pairs.items()
    }
    stored |= {"step": 3, "name": path.stem, "layer_structure": list(structure), "is_layer_norm": norm}
    stored |= {"activation_func": activation, "use_dropout": dropout, "sd_checkpoint_name": "some"}
    if last is not None:
        stored["activate_output"] = last
    torch.save(stored, path)
    return pairs


@contextmanager
def _by_the_rule(
    unet: Any, pairs: Mapping[int, tuple[nn.Module, nn.Module]], strength: float
) -> Iterator[None]:
    """k = to_k(H_k(context)), v = to_v(H_v(context)), H(x) = x + strength * MLP(x)."""
    handles = []
    for name, module in unet.named_modules():
        if name.endswith((".to_k", ".to_v")) and module.in_features in pairs:
            network = pairs[module.in_features][name.endswith(".to_v")]
            handles.append(
                module.register_forward_pre_hook(
                    lambda _, inputs, network=network: (inputs[0] + strength * network(inputs[0]),)
                )
            )
    assert handles
    yield
    for handle in handles:
        handle.remove()


FORMS: dict[str, dict[str, Any]] = {
    "as most are": {},
    "for the context alone": {"widths": (made.WIDTH,)},
    "linear": {"activation": "linear", "structure": (1, 2, 1)},
    "no activation noted": {"activation": None},
    "deep, normalised, with dropout": {"structure": (1, 2, 1.5, 1), "norm": True, "dropout": True},
    "its output activated": {"last": True},
    "from before outputs could be spared": {"last": None},
    "swish": {"activation": "swish", "module": nn.Hardswish()},
    "leakyrelu": {"activation": "leakyrelu", "module": nn.LeakyReLU()},
    "mish": {"activation": "mish", "module": nn.Mish()},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_hypernetwork_changes_what_keys_and_values_are_made_of(form: str, tmp_path: Path) -> None:
    model = made.model()
    path = tmp_path / "h.pt"
    pairs = write_hypernetwork(path, **{"widths": (made.WIDTH, 16, 32), **FORMS[form]})
    plain = made.run_unet(model.unet, 2)
    with _by_the_rule(model.unet, pairs, 0.8):
        expected = made.run_unet(model.unet, 2)
    changed = made.with_adapters(model, [(hypernet(path, 0.8),)] * 2)
    assert difference(changed, expected) < 1e-5
    assert difference(changed, plain) > 1e-3


def test_several_are_chained_in_their_order(tmp_path: Path) -> None:
    model = made.model()
    first, second = tmp_path / "1.pt", tmp_path / "2.pt"
    one, two = (
        write_hypernetwork(path, (made.WIDTH,), seed=seed) for seed, path in ((1, first), (2, second))
    )
    with _by_the_rule(model.unet, one, 1.0), _by_the_rule(model.unet, two, 1.0):
        expected = made.run_unet(model.unet)
    changed = made.with_adapters(model, [(hypernet(first), hypernet(second))])
    assert difference(changed, expected) < 1e-5


def test_the_first_files_had_two_layers_by_name(tmp_path: Path) -> None:
    model = made.model()
    path = tmp_path / "old.pt"
    pairs = write_hypernetwork(path, (made.WIDTH,), activation=None)
    renamed = [
        {f"linear{int(name[0]) + 1}{name[1:]}": value for name, value in part.state_dict().items()}
        for part in pairs[made.WIDTH]
    ]
    torch.save({made.WIDTH: renamed}, path)
    with _by_the_rule(model.unet, pairs, 1.0):
        expected = made.run_unet(model.unet)
    assert difference(made.with_adapters(model, [(hypernet(path),)]), expected) < 1e-5


_LINEAR = {"24.0.linear.0.weight": torch.zeros(48, 24), "24.0.linear.0.bias": torch.zeros(48)}
REFUSED = {
    "another width": ({n.replace("24.", "20."): v[..., :20] for n, v in _LINEAR.items()}, {}, "does not"),
    "an end of another width": (_LINEAR, {}, "does not end as wide"),
    "keys alone": (
        {"24.0.linear.0.weight": torch.zeros(24, 24), "24.0.linear.0.bias": torch.zeros(24)},
        {},
        "does not end as wide",
    ),
    "no bias": ({"24.0.linear.0.weight": torch.zeros(24, 24)}, {}, "does not fit together at layer 0"),
    "an unknown activation": (_LINEAR, {"activation_func": "exp"}, "'exp'; served are linear, relu"),
    "an unknown flag": (_LINEAR, {"activate_output": "perhaps"}, "neither true nor false"),
    "a stranger's tensor": ({**_LINEAR, "x": torch.zeros(2)}, {}, "'x' is none of a hypernetwork"),
    "nothing": ({}, {"step": "3"}, "it has no networks"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_hypernetwork_for_this_model_is_refused(what: str, tmp_path: Path) -> None:
    tensors, notes, words = REFUSED[what]
    path = tmp_path / "strange.safetensors"
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, notes)
    with pytest.raises(UnsupportedError) as refusal:
        Adapters(budget_bytes=10**9).pin(made.model(), (hypernet(path),))
    assert refusal.value.value == "<hypernet:strange>"
    assert words in str(refusal.value)


def test_one_whose_widths_the_model_has_not_is_refused(tmp_path: Path) -> None:
    write_hypernetwork(tmp_path / "wide.pt", (768,))
    with pytest.raises(UnsupportedError, match="768 wide; no attention of the checkpoint"):
        Adapters(budget_bytes=10**9).pin(made.model(), (hypernet(tmp_path / "wide.pt"),))
