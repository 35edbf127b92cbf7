"""The checkpoints in the device's memory: the one that is served, and others that requests named, as many as
a budget holds. Device thread only.

A checkpoint is dropped only while no task uses it; which are in use is told by the caller. Knows no tasks.
"""

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from sd_runtime.engine.machine import Machine
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.errors import NotLoaded
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.models.network import Model

logger = logging.getLogger(__name__)

Between = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Served:
    path: Path
    sha256: str


class Residents:
    """Models by their files, the one used last at the end."""

    def __init__(
        self, settings: EngineSettings, *, on_drop: Callable[[Model], None], machine: Machine
    ) -> None:
        self._budget = settings.checkpoint_bytes
        self._on_drop = on_drop
        self._machine = machine
        self._models: OrderedDict[Path, Model] = OrderedDict()
        self._stamps: dict[Path, object] = {}
        self._served: _Served | None = None

    @property
    def served(self) -> LoadedCheckpoint | None:
        """What tasks run on that name no checkpoint; None also where it would have to be read again."""
        model = self._models.get(self._served.path) if self._served else None
        return model.loaded if model else None

    def wanted(self, path: Path | None) -> Path:
        """The checkpoint that a task means; raises `NotLoaded` where none is served."""
        if path is not None:
            return path
        if self._served is None:
            raise NotLoaded("no checkpoint is loaded")
        return self._served.path

    def get(self, path: Path) -> Model | None:
        """The model of this file, if it is there; it becomes the one used last."""
        model = self._models.get(path)
        if model is not None:
            self._models.move_to_end(path)
        return model

    def can_load(self, path: Path, in_use: Collection[Path]) -> bool:
        """Whether this file's model may be loaded now: the room for it is free, or can be freed."""
        return not self._models or not in_use or self._room_beside(path, in_use)

    def fetch(self, path: Path, in_use: Collection[Path], between: Between) -> Model:
        """Load the file's model, after the room for it was made; raises as `checkpoint.load`."""
        self._make_room(path, in_use)
        sha256 = self._served.sha256 if self._served and self._served.path == path else None
        return self._read(path, sha256, between)

    def serve(self, path: Path, sha256: str | None, between: Between) -> LoadedCheckpoint:
        """Make this the served one; only while no task is under way. A file whose header is at fault leaves
        all as it was; if the load fails later, or `between` ends it by raising, none is served."""
        model = self._models.get(path)
        # A wish for a file that has changed is a wish for its new content.
        if model is None or sha256 not in (None, model.loaded.sha256) or self._has_changed(path):
            self._machine.examine(path)
            self._served = None
            self._drop(path)
            self._make_room(path, ())
            model = self._read(path, sha256, between)
        self._served = _Served(path, model.loaded.sha256)
        return model.loaded

    def drop_all(self) -> None:
        """Give every model's memory back."""
        for path in list(self._models):
            self._drop(path)
        self._served = None

    def _read(self, path: Path, sha256: str | None, between: Between) -> Model:
        stamp = _stamp(path)
        model = self._machine.load(path, sha256, between)
        self._models[path], self._stamps[path] = model, stamp
        return model

    def _has_changed(self, path: Path) -> bool:
        stamp = _stamp(path)
        return stamp is None or stamp != self._stamps.get(path)

    def _make_room(self, path: Path, in_use: Collection[Path]) -> None:
        """Drop what was not used for longest until the file's model fits beside the rest.

        Before it is read: without a budget two at once would need a device of twice the memory, all the time,
        for the sake of the rare load that fails after its header was found good.
        """
        for other in [each for each in self._models if each not in in_use]:
            if self._room_beside(path, self._models):
                break
            self._drop(other)
        # The error of a load that failed holds in a circle what had been read; until that is found it stays.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _room_beside(self, path: Path, others: Collection[Path]) -> bool:
        kept = sum(self._models[each].loaded.bytes for each in others if each in self._models)
        return kept + _size(path) <= self._budget

    def _drop(self, path: Path) -> None:
        model = self._models.pop(path, None)
        if model is not None:
            self._on_drop(model)


def _size(path: Path) -> int:
    """About what its model will take: what the file takes."""
    try:
        if path.is_dir():
            return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
        return path.stat().st_size
    except OSError:
        return 0


def _stamp(path: Path) -> object:
    """Of a file that is the same as long as this is; None where that cannot be told (folders)."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) if path.is_file() else None
