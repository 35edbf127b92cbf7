"""What lies on the volumes as the operator is told of it: every file of their manifests, and what is wrong
with one that cannot be used.

A file is looked into no further than its header; one that stays the same is looked into once.
"""

import stat
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles import manifest
from sd_modelfiles.kinds import ModelType
from sd_runtime.models import volume
from sd_runtime.models.library import Library

#: Of files that no manifest lists: a folder of thousands of pictures is not to fill the answer.
_MOST_STRAYS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file. `sha256` is the manifest's; "" where the file is not what the manifest says, or in none."""

    root: Path
    path: str
    type: str
    sha256: str = ""
    error: str | None = None


class Inventory:
    """The files below the roots of a library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def files(self) -> list[Listed]:
        """The files of the manifests that are there now, and further ones only if they are faulty. Reads
        disks."""
        listed = [
            each
            for root in self._library.roots
            for entry in volume.entries(root)
            if (each := self._entry(root, entry)) is not None
        ]
        return listed + self._strays({each.root / each.path for each in listed})

    def _entry(self, root: Path, entry: manifest.Entry) -> Listed | None:
        path = root / entry.path
        try:
            found = path.stat()
        except OSError:
            return None  # not fetched yet, or gone: the manifest is of the volume, and files may be another's
        if not stat.S_ISREG(found.st_mode):
            return None
        error: str | None
        if found.st_size != entry.size:
            error = f"has {found.st_size} bytes; when it was fetched it had {entry.size}"
        else:
            error = self._library.faults.of_found(path, found, None)
        sha256 = "" if error else entry.sha256
        return Listed(root=root, path=entry.path, type=entry.type, sha256=sha256, error=error)

    def _strays(self, known: set[Path]) -> list[Listed]:
        """Faulty files that somebody has put there by hand."""
        found = []
        for kind in ModelType:
            for file in self._library.all(kind):
                error = None if file.path in known else self._library.faults.of(file.path, kind)
                if error is not None:
                    path = str(file.path.relative_to(file.root))
                    found.append(Listed(root=file.root, path=path, type=kind, error=error))
        return found[:_MOST_STRAYS]
