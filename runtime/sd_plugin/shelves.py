"""Which files of a type lie below the roots, in A1111's folders, looked up anew all the time: weights come
and go while a plugin runs. Knows nothing of what is in a file."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Descriptions are asked for every few seconds, with one question for each module.
_FRESH_SECONDS = 1.0
_DEEPEST = 4

#: Size, time of change and number of a file: another key, another content.
FileKey = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A file; `name` is its path below the folder of its type, parts separated by "/"."""

    path: Path
    name: str
    key: FileKey


class Shelf:
    """The files in these folders of all roots. May be asked from any thread."""

    def __init__(self, roots: Sequence[Path], folders: Sequence[str], endings: Sequence[str]) -> None:
        self._roots = tuple(roots)
        self._folders = tuple(folders)
        self._endings = tuple(endings)
        self._lock = threading.Lock()
        self._looked = -_FRESH_SECONDS
        self._found: tuple[Found, ...] = ()

    def files(self) -> tuple[Found, ...]:
        """Every file, those of earlier roots and folders first; as it was at most a second ago."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= _FRESH_SECONDS:
                self._found = tuple(self._walk())
                self._looked = now
            return self._found

    def find(self, *names: str) -> Found | None:
        """The file of one of these plain names, which are in order of preference; case does not count."""
        by_name: dict[str, Found] = {}
        for found in self.files():
            by_name.setdefault(found.path.name.lower(), found)
        return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)

    def _walk(self) -> Iterator[Found]:
        for root in self._roots:
            # `models` itself may be the root.
            within = root if (root / "models").is_dir() else None
            for folder in self._folders:
                place = within / folder if within else root / folder.removeprefix("models/")
                yield from self._below(place, "", _DEEPEST)

    def _below(self, folder: Path, prefix: str, depth: int) -> Iterator[Found]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    if depth:
                        yield from self._below(Path(entry.path), f"{prefix}{entry.name}/", depth - 1)
                elif entry.name.lower().endswith(self._endings) and entry.is_file():
                    yield Found(Path(entry.path), prefix + entry.name, _key(entry.stat()))
            except OSError:
                continue  # gone in between


def _key(status: os.stat_result) -> FileKey:
    return status.st_size, status.st_mtime_ns, status.st_ino
