"""Real-ESRGAN's weights, from the ncnn files in a Python package to the names that its authors' own files
have.

An ncnn model is a text file of layers and a binary one of their weights, in the same order. Knows only what
these networks need: convolutions (half precision weights, full precision biases) and PReLU.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

_HALF_PRECISION = 0x01306B47  # ncnn's mark before weights of two bytes
_FULL_PRECISION = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with weights, in the order of the network."""

    kind: str
    weight: torch.Tensor
    bias: torch.Tensor | None


def read(param: Path, binary: Path) -> list[Layer]:
    """The layers of a model. Raises ValueError for a file that is not understood, or not to its end."""
    data = binary.read_bytes()
    layers, offset = [], 0
    for kind, numbers in _layers(param.read_text()):
        if kind == "Convolution":
            layer, offset = _convolution(numbers, data, offset)
        elif kind == "PReLU":
            layer, offset = _prelu(numbers, data, offset)
        else:
            continue
        layers.append(layer)
    if offset != len(data):
        raise ValueError(f"{binary.name}: {len(data) - offset} bytes are left after the last layer")
    return layers


def compact_names(layers: list[Layer]) -> dict[str, torch.Tensor]:
    """SRVGGNetCompact: convolutions and activations are numbered in one row, `body.0`, `body.1`, …"""
    return _named((f"body.{index}", layer) for index, layer in enumerate(layers))


def rrdb_names(layers: list[Layer]) -> dict[str, torch.Tensor]:
    """RRDBNet: blocks of three dense blocks of five convolutions, one convolution before and five after."""
    blocks, rest = divmod(len(layers) - 6, 15)
    if rest or blocks < 1:
        raise ValueError(f"an RRDBNet has 6 + 15 n convolutions, not {len(layers)}")
    names = ["conv_first"]
    names += [f"body.{b}.rdb{r}.conv{c}" for b in range(blocks) for r in (1, 2, 3) for c in range(1, 6)]
    names += ["conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    return _named(zip(names, layers, strict=True))


def _named(pairs: Iterator[tuple[str, Layer]] | zip[tuple[str, Layer]]) -> dict[str, torch.Tensor]:
    result = {}
    for name, layer in pairs:
        result[f"{name}.weight"] = layer.weight
        if layer.bias is not None:
            result[f"{name}.bias"] = layer.bias
    return result


def _layers(text: str) -> Iterator[tuple[str, dict[int, int]]]:
    """Kind and whole-numbered settings of each layer; the first two lines are a magic number and counts."""
    for line in text.splitlines()[2:]:
        kind, _, *words = line.split()
        settings = dict(word.split("=") for word in words if "=" in word)
        yield kind, {int(k): int(v) for k, v in settings.items() if v.isdigit() and k.isdigit()}


def _convolution(numbers: dict[int, int], data: bytes, offset: int) -> tuple[Layer, int]:
    outputs, kernel, count = numbers[0], numbers[1], numbers[6]
    (flag,) = struct.unpack_from("<I", data, offset)
    if flag not in (_HALF_PRECISION, _FULL_PRECISION):
        raise ValueError(f"byte {offset}: weights of kind {flag:#x} are not understood")
    kind = np.float16 if flag == _HALF_PRECISION else np.float32
    weight, offset = _numbers(data, offset + 4, count, kind)
    bias = None
    if numbers.get(5):
        bias, offset = _numbers(data, offset, outputs, np.float32)
    return Layer("Convolution", weight.view(outputs, -1, kernel, kernel), bias), offset


def _prelu(numbers: dict[int, int], data: bytes, offset: int) -> tuple[Layer, int]:
    slopes, offset = _numbers(data, offset, numbers[0], np.float32)
    return Layer("PReLU", slopes, None), offset


def _numbers(
    data: bytes, offset: int, count: int, kind: type[np.float16] | type[np.float32]
) -> tuple[torch.Tensor, int]:
    values = np.frombuffer(data, kind, count, offset).astype(np.float32)
    size = count * np.dtype(kind).itemsize
    return torch.from_numpy(values), offset + (size + 3) // 4 * 4  # weights are padded to four bytes
