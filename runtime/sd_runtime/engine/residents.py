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
from sd_runtime.errors import CheckpointError, CheckpointUnavailable, NotLoaded, SdError
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.models.network import Model

logger = logging.getLogger(__name__)

Between = Callable[[], None]

#: What their headers said.
_FILES_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class _Served:
    path: Path
    #: Of the bytes that were wished for; None: whatever the file holds.
    sha256: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What a file's header says: the bytes that its model will take, or what is wrong."""

    stamp: object
    size: int = 0
    fault: str = ""

    def demand(self) -> int:
        """The size; raises what is wrong."""
        if self.fault:
            raise CheckpointError(self.fault)
        return self.size


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
        self._found: dict[Path, _Found] = {}
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

    def get(self, path: Path, in_use: Collection[Path] = ()) -> Model | None:
        """The model of this file, if it is there; it becomes the one used last. Of a file that was changed
        since it was read it goes, as soon as nobody uses it; but for the served one, which is changed by a
        wish only."""
        model = self._models.get(path)
        is_served = self._served is not None and self._served.path == path
        if model is not None and not is_served and path not in in_use and self._was_replaced(path):
            self._drop(path)
            return None
        if model is not None:
            self._models.move_to_end(path)
        return model

    def can_load(self, path: Path, in_use: Collection[Path]) -> bool:
        """Whether this file's model may be loaded now: the room for it is free, or can be freed. Also where
        its header is at fault, so that `fetch` says so and nobody waits for it."""
        if not self._models or not in_use:
            return True
        try:
            return self._fits(self._examine(path).demand(), in_use)
        except SdError:
            return True

    def fetch(self, path: Path, in_use: Collection[Path], between: Between) -> Model:
        """Load the file's model, after the room for it was made; raises as `checkpoint.load`. A file whose
        header is at fault costs no other its place."""
        self._make_room(self._examine(path).demand(), in_use)
        sha256 = self._served.sha256 if self._served and self._served.path == path else None
        return self._read(path, sha256, between)

    def serve(self, path: Path, sha256: str | None, between: Between) -> LoadedCheckpoint:
        """Make this the served one; only while no task is under way. A file whose header is at fault leaves
        all as it was; if the load fails later, or `between` ends it by raising, none is served."""
        model = self._models.get(path)
        # A wish for a file that has changed is a wish for its new content.
        if model is None or sha256 not in (None, model.loaded.sha256) or self._has_changed(path):
            size = self._examine(path).demand()
            self._served = None
            self._drop(path)
            self._make_room(size, ())
            model = self._read(path, sha256, between)
        self._served = _Served(path, sha256)
        return model.loaded

    def _read(self, path: Path, sha256: str | None, between: Between) -> Model:
        stamp = _stamp(path)
        model = self._machine.load(path, sha256, between)
        self._models[path], self._stamps[path] = model, stamp
        return model

    def _was_replaced(self, path: Path) -> bool:
        """Whether another file is there now. One that is gone is no reason to drop what was read of it."""
        stamp = _stamp(path)
        return stamp is not None and stamp != self._stamps.get(path)

    def _has_changed(self, path: Path) -> bool:
        stamp = _stamp(path)
        return stamp is None or stamp != self._stamps.get(path)

    def _examine(self, path: Path) -> _Found:
        """What the file's header says; asked again only once the file has changed. Raises where it cannot be
        read, which may pass."""
        stamp = _stamp(path, folders=True)
        known = self._found.get(path)
        if known is not None and stamp is not None and known.stamp == stamp:
            return known
        try:
            found = _Found(stamp, size=self._machine.examine(path))
        except CheckpointUnavailable:
            raise
        except CheckpointError as error:
            found = _Found(stamp, fault=str(error))
        if len(self._found) >= _FILES_REMEMBERED:
            self._found.clear()
        self._found[path] = found
        return found

    def _make_room(self, size: int, in_use: Collection[Path]) -> None:
        """Drop what was not used for longest until a model of this size fits beside the rest.

        Before it is read: without a budget two at once would need a device of twice the memory, all the time,
        for the sake of the rare load that fails after its header was found good.
        """
        for other in [each for each in self._models if each not in in_use]:
            if self._fits(size, self._models):
                break
            self._drop(other)
        # The error of a load that failed holds in a circle what had been read; until that is found it stays.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fits(self, size: int, others: Collection[Path]) -> bool:
        kept = sum(self._models[each].loaded.bytes for each in others if each in self._models)
        return kept + size <= self._budget

    def _drop(self, path: Path) -> None:
        model = self._models.pop(path, None)
        if model is not None:
            self._on_drop(model)


def _stamp(path: Path, *, folders: bool = False) -> object:
    """Of a file that is the same as long as this is; of a folder it only tells of files that came and went,
    so it has none unless that is enough."""
    try:
        stat = path.stat()
    except OSError:
        return None
    if path.is_dir() and not folders:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
