"""An engine around a tiny real checkpoint, and tasks to give it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_runtime.engine.loop import Engine, Ticket
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.engine.work import Encode, Made, OnStep, TaskRun
from sd_runtime.models.library import Library
from sd_runtime.prompt.settings import TextSettings
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.recipe import Guided
from sd_runtime.tasks.txt2img import Txt2Img

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

WAIT = 60.0


@dataclass
class RecordingObserver:
    calls: list[tuple[int, int]] = field(default_factory=list)  # rows, requests
    ran_out: int = 0

    def unet_call(self, *, rows: int, requests: int, seconds: float) -> None:
        assert seconds > 0
        self.calls.append((rows, requests))

    def memory_ran_out(self) -> None:
        self.ran_out += 1


class Gate:
    """A task that holds the device thread until it is opened: what is handed in meanwhile starts together."""

    checkpoint: Path | None = None

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        self.entered.set()
        assert self.open.wait(WAIT)
        yield Encode("")
        return Made(np.zeros((8, 8, 3), np.uint8))


@dataclass
class Bench:
    engine: Engine
    observer: RecordingObserver

    def together(self, tasks: list[Any], **options: Any) -> list[Ticket]:
        """Tickets whose tasks are admitted in one go."""
        gate = Gate()
        self.engine.submit(gate)
        assert gate.entered.wait(WAIT)
        tickets = [self.engine.submit(task, **options) for task in tasks]
        gate.open.set()
        return tickets

    def alone(self, task: Any) -> np.ndarray[Any, Any]:
        return self.engine.submit(task).future.result(WAIT).pixels


def settings(**changes: Any) -> EngineSettings:
    """Batches are not measured: how large they are then depends on the machine's mood."""
    return EngineSettings(**{"device": "cpu", "max_batch": 8, "measured_batch": False, **changes})


@contextmanager
def running(*checkpoints: Path, roots: tuple[Path, ...] = (), **changes: Any) -> Iterator[Bench]:
    """An engine of its own for a test, serving the first checkpoint."""
    observer = RecordingObserver()
    engine = Engine(settings(**changes), Library(roots), observer)
    engine.start()
    try:
        for path in checkpoints[:1]:
            engine.load(path).result(WAIT)
        yield Bench(engine, observer)
    finally:
        engine.close()


def picture(
    *,
    seed: int = 1,
    width: int = 64,
    height: int = 64,
    clip_skip: int = 1,
    checkpoint: Path | None = None,
    kind: type[Txt2Img] = Txt2Img,
    **guided: Any,
) -> Txt2Img:
    chosen: dict[str, Any] = {"prompt": "a red cat", "steps": 6, "cfg_scale": 5.0, **guided}
    return kind(
        guided=Guided(text=TextSettings(clip_skip=clip_skip), **chosen),
        noise=NoiseSettings(seed=seed),
        width=width,
        height=height,
        checkpoint=checkpoint,
    )


def difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())
