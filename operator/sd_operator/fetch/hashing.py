"""The sha256 of a whole file of a volume, and whether that is still the file of which it was told."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from sd_operator.fetch.stopping import Stop

_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file as it was when its bytes were read."""

    sha256: str
    state: tuple[int, ...]

    def is_still(self, path: Path) -> bool:
        """Whether the path names the same file, and nobody wrote into it."""
        try:
            return _state(path.stat()) == self.state
        except FileNotFoundError:
            return False


def hashed(path: Path, stop: Stop) -> Hashed:
    """A stop takes effect at once."""
    digest, buffer = hashlib.sha256(), bytearray(_READ_BYTES)
    with stop.interruptible(), path.open("rb", buffering=0) as file, memoryview(buffer) as view:
        # Before the first byte: a change while it is read is a change, too.
        state = _state(os.fstat(file.fileno()))
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return Hashed(digest.hexdigest(), state)


def sha256_of(path: Path, stop: Stop) -> str:
    """In hex."""
    return hashed(path, stop).sha256


def _state(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
