"""Real sockets, real processes; nothing is mocked. Makes the modules of this folder importable, those that
misbehave and the example included."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE / "misbehaving")]


@pytest.fixture
def socket() -> Iterator[Path]:
    """The path of a socket that is not there yet; pytest's own folders have too long names for one."""
    with TemporaryDirectory(prefix="sd-") as folder:
        yield Path(folder) / "plugin.sock"
