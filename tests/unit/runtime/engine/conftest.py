"""An engine for a test; makes the hand-written parts of this folder importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from engine_bench import Bench, running


@pytest.fixture
def bench(checkpoint_file: Path) -> Iterator[Bench]:
    """One of its own, which serves the tiny checkpoint."""
    with running(checkpoint_file) as bench:
        yield bench
