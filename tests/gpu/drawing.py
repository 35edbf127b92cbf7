"""An engine on the GPU, and pictures by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import rig
from sd_runtime.engine.loop import Engine


def engine_of(models: Path, **settings: Any) -> Any:
    """An engine that always takes all that wait into one call."""
    chosen = {"device": "cuda", "measured_batch": False, **settings}
    return rig.engine(models / rig.CHECKPOINT, root=models, calls=rig.Calls(), **chosen)


def pictures_by(engine: Engine, tasks: list[Any]) -> np.ndarray[Any, Any]:
    """(N, H, W, 3), of tasks that are handed in at once."""
    tickets = [engine.submit(task) for task in tasks]
    return np.stack([ticket.future.result(600).pixels for ticket in tickets])


def difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    """The greatest, of 255."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())
