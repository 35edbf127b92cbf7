"""Hypernetworks in A1111's form: small networks that change what attention reads keys and values from.

In every attention whose context is as wide as a pair of them, k = to_k(H_k(context)) and
v = to_v(H_v(context)) with H(x) = x + strength * MLP(x). Files have the pairs under their widths, and beside
them how the layers are joined.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sd_runtime.adapters.files import Content, Unusable

Layer = Callable[[torch.Tensor], torch.Tensor]

_NAME = re.compile(r"(\d{1,6})\.([01])\.linear(?:\.(\d{1,3})|([12]))\.(weight|bias)")
_OLD = {"1": 0, "2": 1}  # the first files had no list of layers
_IDENTITY = "linear"
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.Hardswish,  # A1111's word for it
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "logsigmoid": nn.LogSigmoid,
    "tanhshrink": nn.Tanhshrink,
}


@dataclass(frozen=True, slots=True, eq=False)
class Mlp:
    """One of a pair."""

    layers: tuple[Layer, ...]

    def __call__(self, x: torch.Tensor, strength: float) -> torch.Tensor:  # (R, L, width), the same
        """H(x) = x + strength * MLP(x)."""
        change = x
        for layer in self.layers:
            change = layer(change)
        return x + change * strength


@dataclass(frozen=True, slots=True)
class _Joining:
    activation: type[nn.Module] | None
    activates_output: bool


def fit(content: Content, unet: Any, *, model_family: str) -> dict[nn.Linear, Mlp]:
    """The network for each of the U-Net's modules that make keys and values; raises Unusable."""
    joining = _joining(content.header.metadata)
    pairs = {width: _pair(width, weights, joining) for width, weights in _by_width(content).items()}
    changed: dict[nn.Linear, Mlp] = {}
    for _, module in unet.named_modules():
        to_k, to_v = getattr(module, "to_k", None), getattr(module, "to_v", None)
        if isinstance(to_k, nn.Linear) and isinstance(to_v, nn.Linear) and to_k.in_features in pairs:
            changed[to_k], changed[to_v] = pairs[to_k.in_features]
    if not changed:
        widths = ", ".join(map(str, sorted(pairs)))
        raise Unusable(f"its networks are {widths} wide; no attention of the checkpoint ({model_family}) is")
    return changed


def _by_width(content: Content) -> dict[int, tuple[dict[int, dict[str, torch.Tensor]], ...]]:
    """For each width the weights for keys and for values, by layer."""
    found: dict[int, tuple[dict[int, dict[str, torch.Tensor]], ...]] = {}
    for name in content.header.tensors:
        parsed = _NAME.fullmatch(name)
        if parsed is None:
            raise Unusable(f"its tensor {name[:200]!r} is none of a hypernetwork in A1111's form")
        width, which, layer, old, part = parsed.groups()
        number = _OLD[old] if layer is None else int(layer)
        pair = found.setdefault(int(width), ({}, {}))
        pair[int(which)].setdefault(number, {})[part] = content.weight(name)
    if not found:
        raise Unusable("it is no hypernetwork: it has no networks")
    return found


def _joining(notes: Mapping[str, str]) -> _Joining:
    name = notes.get("activation_func", "null").strip('"').lower()
    if name not in (_IDENTITY, "null", "none") and name not in ACTIVATIONS:
        allowed = ", ".join([_IDENTITY, *ACTIVATIONS])
        raise Unusable(f"its activation_func is {name[:100]!r}; served are {allowed}")
    # Files from before there was a choice have their output activated.
    return _Joining(ACTIVATIONS.get(name), _flag(notes.get("activate_output", "true")))


def _flag(note: str) -> bool:
    try:
        return bool(json.loads(note.lower()))
    except ValueError:
        raise Unusable(f"its activate_output is {note[:100]!r}, neither true nor false") from None


def _pair(
    width: int, weights: tuple[dict[int, dict[str, torch.Tensor]], ...], joining: _Joining
) -> tuple[Mlp, Mlp]:
    keys, values = (_mlp(width, layers, joining) for layers in weights)
    return keys, values


def _mlp(width: int, weights: dict[int, dict[str, torch.Tensor]], joining: _Joining) -> Mlp:
    """Linear, activation, normalisation: dropouts, which do nothing here, have left gaps in the numbers."""
    layers: list[Layer] = []
    at = width
    linears = [number for number, parts in weights.items() if _is_linear(parts)]
    for number, parts in sorted(weights.items()):
        weight, bias = parts.get("weight"), parts.get("bias")
        if weight is None or bias is None or bias.shape != weight.shape[:1] or weight.shape[-1] != at:
            raise Unusable(f"its network for a width of {width} does not fit together at layer {number}")
        if _is_linear(parts):
            at = len(weight)
            layers.append(_Linear(weight, bias))
            if joining.activation is not None and (number != max(linears) or joining.activates_output):
                layers.append(joining.activation())
        else:
            layers.append(_Norm(weight, bias))
    if not linears or at != width:
        raise Unusable(f"its network for a width of {width} does not end as wide")
    return Mlp(tuple(layers))


def _is_linear(parts: Mapping[str, torch.Tensor]) -> bool:
    return "weight" in parts and parts["weight"].ndim == 2


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias)
