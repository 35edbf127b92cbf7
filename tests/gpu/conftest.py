"""What only a GPU can show: `make test-gpu`. Without one these tests fail, in words, rather than pass for
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.pictures import random_weights, rig
from sd_runtime.engine.loop import Engine
from tests.gpu.drawing import engine_of


@pytest.fixture(scope="session", autouse=True)
def gpu() -> None:
    """Demands one."""
    if not torch.cuda.is_available():
        pytest.fail("these tests need a CUDA device, and torch finds none")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's checkpoint and LoRAs, laid out as on a volume."""
    root = tmp_path_factory.mktemp("volume")
    rig.lay_out(root)
    return root


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and LoRAs of Stable Diffusion 1.5's size."""
    root = tmp_path_factory.mktemp("full-size")
    random_weights.lay_out(root)
    return root


@pytest.fixture(scope="module", params=["float32", "float16", "bfloat16"])
def engine(request: Any, models: Path) -> Iterator[Engine]:
    """An engine on the GPU, in each format of the weights."""
    with engine_of(models, dtype=request.param) as made:
        yield made
