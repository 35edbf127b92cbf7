"""A reader of the volume: looks at it all the time, as a runtime may, and believes what it sees.

Whatever is visible outside `.sd-operator` must be whole at the first look and stay as it is; the manifest
must always be readable, and what it names be there. Knows nothing of how files come.
"""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HIDDEN = ".sd-operator"
_PAUSE_SECONDS = 0.002
#: A file by name, inode, size and time of change: another one, or another content, has others.
Sight = tuple[str, int, int, int]


class Reader:
    """Looks until it is stopped. `wrong` is what no reader may ever see."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sights: dict[Sight, str] = {}
        self._manifest: Sight | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reader of {root}", daemon=True)
        #: sha256 of every content that was ever seen, by path.
        self.seen: dict[str, set[str]] = {}
        self.whole: set[str] = set()
        self.wrong: list[str] = []
        self.looks = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def strangers(self) -> list[str]:
        """What was seen and is none of the contents that are whole."""
        return [
            f"{path} was visible with sha256 {digest}"
            for path, digests in self.seen.items()
            for digest in digests - self.whole
        ]

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look()
            time.sleep(_PAUSE_SECONDS)
        self._look()

    def _look(self) -> None:
        self.looks += 1
        # The manifest first: what it names was in place before.
        with contextlib.suppress(FileNotFoundError):
            self._read_manifest(self._root / HIDDEN / "manifest.json")
        for path in _files(self._root):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                self._read(path.relative_to(self._root).as_posix(), file.fileno())

    def _read(self, name: str, descriptor: int) -> None:
        sight = _sight(name, descriptor)
        if sight in self._sights:
            return
        digest = hashlib.sha256()
        while chunk := os.read(descriptor, 1024 * 1024):
            digest.update(chunk)
        if _sight(name, descriptor) != sight:
            self.wrong.append(f"{name} changed while it was read")
        self._sights[sight] = digest.hexdigest()
        self.seen.setdefault(name, set()).add(digest.hexdigest())

    def _read_manifest(self, path: Path) -> None:
        with path.open("rb") as file:
            sight = _sight("manifest", file.fileno())
            if sight == self._manifest:
                return
            raw = file.read()
        self._manifest = sight
        try:
            entries: list[dict[str, Any]] = json.loads(raw)["files"]
        except (ValueError, KeyError) as error:
            self.wrong.append(f"the manifest could not be read: {error!r}")
            return
        for entry in entries:
            file_path = self._root / entry["path"]
            size = file_path.stat().st_size if file_path.exists() else None
            if size != entry["size"]:
                self.wrong.append(
                    f"the manifest names {entry['path']} of {entry['size']} bytes, there are {size}"
                )


def _sight(name: str, descriptor: int) -> Sight:
    state = os.fstat(descriptor)
    return name, state.st_ino, state.st_size, state.st_mtime_ns


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == HIDDEN:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield Path(entry.path)
