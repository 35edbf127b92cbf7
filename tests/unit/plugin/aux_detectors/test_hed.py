"""HED's Keras weights, converted, against a plain HED in PyTorch that reads them as Keras has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from skimage import data

from demo.annotators import hed
from sd_plugin.module import Plugin
from sd_plugin.plugins.aux_detectors import library

Arrays = Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]

#: Inputs and outputs of each block's convolutions.
BLOCKS = [
    [(3, 64), (64, 64)],
    [(64, 128), (128, 128)],
    [(128, 256), (256, 256), (256, 256)],
    [(256, 512), (512, 512), (512, 512)],
    [(512, 512), (512, 512), (512, 512)],
]
MEAN_BGR = (104.00699, 116.66877, 122.67892)


def keras_weights() -> Arrays:
    """Of chance, so scaled that edges come out between 0 and 1."""
    generator = np.random.default_rng(11)
    arrays: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}

    def layer(name: str, rows: int, inputs: int, outputs: int, scale: float) -> None:
        kernel = generator.standard_normal((rows, rows, inputs, outputs), np.float32)
        arrays[f"{name}/vars/0"] = kernel * np.float32(scale / np.sqrt(rows * rows * inputs))
        arrays[f"{name}/vars/1"] = generator.standard_normal(outputs, np.float32) * np.float32(0.3)

    for number, convolutions in enumerate(BLOCKS, start=1):
        for place, (inputs, outputs) in enumerate(convolutions):
            layer(f"block{number}/layers/conv2d{f'_{place}' if place else ''}", 3, inputs, outputs, 1.4)
        layer(f"dsn{number}", 1, convolutions[-1][1], 1, 0.03)
    layer("fuse", 1, 5, 1, 1.0)
    return arrays


def edges(keras: Arrays, picture: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """Xie and Tu's network as the package has it: (H, W, 3) RGB to the fused probabilities (H, W)."""

    def convolve(name: str, given: torch.Tensor) -> torch.Tensor:
        kernel, bias = (torch.from_numpy(keras[f"{name}/vars/{place}"]) for place in (0, 1))
        return F.conv2d(given, kernel.permute(3, 2, 0, 1), bias, padding=kernel.shape[0] // 2)

    bgr = picture[:, :, ::-1].astype(np.float32) - np.float32(MEAN_BGR)
    state = torch.from_numpy(bgr).permute(2, 0, 1)[None]
    sides = []
    for number, convolutions in enumerate(BLOCKS, start=1):
        if number > 1:
            state = F.max_pool2d(state, 2, ceil_mode=True)
        for place in range(len(convolutions)):
            state = convolve(f"block{number}/layers/conv2d{f'_{place}' if place else ''}", state).relu()
        side = convolve(f"dsn{number}", state)
        sides.append(F.interpolate(side, picture.shape[:2], mode="bilinear", align_corners=False))
    return torch.sigmoid(convolve("fuse", torch.cat(sides, 1)))[0, 0]


@pytest.fixture(scope="module")
def keras() -> Arrays:
    return keras_weights()


def test_in_full_precision_controlnet_aux_gives_the_fused_edges(keras: Arrays) -> None:
    module = library.detector("hed")
    network = module.ControlNetHED_Apache2()
    network.load_state_dict(hed.convert(keras))
    picture = data.astronaut()[:128, 128:320]
    wanted = edges(keras, picture)
    assert wanted.std() > 0.05  # there is something to tell apart
    found = module.HEDdetector(network.eval())(
        picture, detect_resolution=128, image_resolution=128, output_type="np"
    )
    # It cuts off what is behind the point of 255 shades.
    difference = (wanted * 255).numpy() - found[:, :, 0]
    assert difference.min() > -0.01
    assert difference.max() < 1.01


def test_the_file_gives_the_fused_edges_within_two_shades(
    keras: Arrays, plugin: Plugin, annotators: Path
) -> None:
    hed.write(annotators / hed.NAME, hed.convert(keras))
    picture = data.coffee()[:128, :192]
    module = next(each for each in plugin.modules if each.description.name == "softedge_hed")
    found = module.run(picture.copy(), None, {"resolution": 128}).image[:, :, 0]
    assert np.abs((edges(keras, picture) * 255).numpy() - found - 0.5).max() < 2


def test_the_file_is_of_half_precision_and_names_its_source(keras: Arrays, tmp_path: Path) -> None:
    path = tmp_path / hed.NAME
    hed.write(path, hed.convert(keras))
    assert path.stat().st_size < 30_000_000
    held = load_file(path)
    assert {each.dtype for each in held.values()} == {torch.float16}
    assert held["norm"].flatten().tolist() == pytest.approx(MEAN_BGR[::-1], abs=0.05)
