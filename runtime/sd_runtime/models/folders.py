"""Which files lie below a folder, looked up again only where something changed.

A folder's own time of change tells that entries came or went; so a second look costs one question a folder
instead of one a file, which counts on volumes behind a network. Knows nothing of models but how their files
end.
"""

import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sd_runtime.models.diffusers_layout import INDEX, UNET

#: A change that is younger than this may be followed by another one with the same time of change.
_SETTLED_NS = 2_000_000_000
_WEIGHTS = (".safetensors", ".bin")
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a folder that holds a model in parts; `name` is its path below the folder looked through."""

    path: Path
    name: str


#: When a folder's entries, and when anything about it, changed last; None: too fresh to be believed.
_Times = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen, and the folders that were looked into."""

    found: tuple[Found, ...]
    folders: dict[Path, _Times]

    def is_current(self) -> bool:
        """Whether a new look would see the same."""
        return all(then is not None and _times(folder) == then for folder, then in self.folders.items())


class Folders:
    """Folders below one root. Links that lead out of the root are not followed, hidden names are skipped."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._looks: dict[tuple[Path, tuple[str, ...], bool], _Look] = {}

    def files(
        self, folder: Path, endings: tuple[str, ...], *, models_in_parts: bool = False
    ) -> tuple[Found, ...]:
        """Everything below `folder` with one of these endings (any case), and the folders that hold a model
        in parts if they are wanted; nothing below a folder that is not there."""
        asked = folder, endings, models_in_parts
        with self._lock:
            look = self._looks.get(asked)
            if look is None or not look.is_current():
                walk = _Walk(self.root, endings, models_in_parts)
                found = sorted(walk.below(folder), key=lambda each: (each.name.lower(), each.name))
                look = self._looks[asked] = _Look(tuple(found), walk.folders)
            return look.found


class _Walk:
    """One look."""

    def __init__(self, root: Path, endings: tuple[str, ...], models_in_parts: bool) -> None:
        self.folders: dict[Path, _Times] = {}
        self._root = root.resolve()
        self._endings = endings
        self._models_in_parts = models_in_parts

    def below(self, folder: Path, prefix: str = "", within: frozenset[Path] = frozenset()) -> Iterator[Found]:
        # Before its entries: what comes while they are read is seen by the next look.
        self.folders[folder] = _times(folder)
        here = folder.resolve()
        # A link to a folder above would lead around for ever.
        if here in within or len(within) > _DEEPEST:
            return
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if entry.name.startswith(".") or not self._stays_inside(entry):
                continue
            path, name = Path(entry.path), prefix + entry.name
            if not _is_folder(entry):
                if entry.name.lower().endswith(self._endings) and _is_file(entry):
                    yield Found(path, name)
            elif self._models_in_parts and _holds_parts(path):
                self.folders[path] = _times(path)
                yield Found(path, name)
            else:
                yield from self.below(path, f"{name}/", within | {here})

    def _stays_inside(self, entry: "os.DirEntry[str]") -> bool:
        if not entry.is_symlink():
            return True
        try:
            return Path(entry.path).resolve(strict=True).is_relative_to(self._root)
        except (OSError, RuntimeError):
            return False


def _holds_parts(folder: Path) -> bool:
    """A configuration alone, as lies beside many single files, is no model."""
    weights = (path for path in (folder / UNET).glob("*") if path.name.endswith(_WEIGHTS))
    return (folder / INDEX).is_file() and any(weights)


def _times(folder: Path) -> _Times:
    try:
        status = folder.stat()
    except OSError:
        return None
    has_settled = abs(time.time_ns() - status.st_mtime_ns) > _SETTLED_NS
    # The second cannot be set back, as programs that copy a folder do with the first.
    return (status.st_mtime_ns, status.st_ctime_ns) if has_settled else None


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False
