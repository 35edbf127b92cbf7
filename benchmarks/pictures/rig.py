"""An engine of the runtime for a measurement, the demo's models laid out as on a volume, and requests."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.rig.processes import ROOT
from sd_runtime import device
from sd_runtime.adapters.uses import AdapterKind, AdapterUse
from sd_runtime.engine.loop import Engine, Ticket
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.models.library import Library
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.recipe import Guided
from sd_runtime.tasks.txt2img import Txt2Img

MODELS = ROOT / "demo" / "models"
CHECKPOINT = "models/Stable-diffusion/demo-sd15.safetensors"
LORAS = {"gilded": "models/Lora/demo-gilded.safetensors", "midnight": "models/Lora/demo-midnight.safetensors"}


@dataclass
class Calls:
    """What the engine reports of its calls of the network."""

    rows: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def unet_call(self, *, rows: int, requests: int, seconds: float) -> None:
        self.rows.append(rows)
        self.seconds.append(seconds)

    def memory_ran_out(self) -> None: ...

    def clear(self) -> None:
        self.rows.clear()
        self.seconds.clear()


def lay_out(root: Path) -> None:
    """The demo's checkpoint and LoRAs below `root`, as A1111 lays them out."""
    for place in (CHECKPOINT, *LORAS.values()):
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODELS / target.stem / target.name, target)


@contextmanager
def engine(checkpoint: Path, *, root: Path, calls: Calls, **settings: Any) -> Iterator[Engine]:
    """An engine that serves the checkpoint."""
    made = Engine(EngineSettings(**{"device": "auto", **settings}), Library([root]), calls)
    made.start()
    try:
        made.load(checkpoint).result()
        yield made
    finally:
        made.close()


def picture(
    *,
    prompt: str = "a large red circle on the left, white background",
    seed: int = 1,
    size: int = 64,
    loras: Sequence[Path] = (),
    **guided: Any,
) -> Txt2Img:
    """One picture to ask for."""
    uses = tuple(AdapterUse(kind=AdapterKind.LORA, path=path) for path in loras)
    return Txt2Img(
        guided=Guided(prompt=prompt, adapters=uses, **{"steps": 20, "cfg_scale": 3.0, **guided}),
        noise=NoiseSettings(seed=seed),
        width=size,
        height=size,
    )


def wait(tickets: Sequence[Ticket]) -> None:
    """Until all have their pictures."""
    for ticket in tickets:
        ticket.future.result()


def device_in_words() -> str:
    """What the engines of this run compute on."""
    info = device.choose("auto").info
    return f"Computed by {info.type} ({info.name}), {info.dtype}, torch {torch.__version__}."
