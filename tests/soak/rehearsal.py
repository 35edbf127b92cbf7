"""The stage that all soak tests share, and the checkout whose operator they try."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.rig.processes import ROOT
from benchmarks.rig.stage import Stage, set_up


def source() -> Path:
    """SOAK_SOURCE tries the operator of another checkout."""
    return Path(os.environ.get("SOAK_SOURCE") or ROOT)


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """SOAK_ASSUME is for an operator that tells pods nothing."""
    assume = os.environ.get("SOAK_ASSUME", "")
    async with set_up(nodes=4, source=source(), standin=("--assume", assume) if assume else ()) as ready:
        yield ready
