"""The files that are served: each with its size and its sha256, read again when it has changed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Blob:
    """A file's content."""

    location: Path
    size: int
    sha256: str


class Blobs:
    """What is below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._known: dict[tuple[Path, int, int], Blob] = {}

    def find(self, path: str) -> Blob | None:
        """The file of a path below the root; None where there is none."""
        location = (self._root / path).resolve()
        if not location.is_relative_to(self._root) or not location.is_file():
            return None
        state = location.stat()
        key = (location, state.st_mtime_ns, state.st_ino)
        if key not in self._known:
            with location.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._known[key] = Blob(location, state.st_size, digest)
        return self._known[key]
