"""The digest of a file that may be many gigabytes long, in bounded memory, with a word on how far it is."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

_CHUNK = 4 * 1024 * 1024
_SECONDS_BETWEEN_LINES = 10.0
_GI = 1024**3


class Changed(Exception):
    """The file became another one while it was read."""


class Progress:
    """A line now and then: bytes hashed so far, of all."""

    def __init__(
        self, total: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._say = say
        self._clock = clock
        self._done = 0
        self._said = clock()

    def add(self, size: int) -> None:
        self._done += size
        if self._clock() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = self._clock()
            self._say(f"hashing: {self._done / _GI:.1f} of {self._total / _GI:.1f} GiB")


def sha256(path: Path, progress: Progress, *, expected_size: int) -> str:
    """The digest; raises Changed for a file that does not keep still, OSError for one that cannot be read."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    read = 0
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        # No further than the file went when it was found: one that grows might grow for ever.
        while read <= expected_size and (count := file.readinto(buffer)):
            digest.update(buffer[:count])
            read += count
            progress.add(count)
        after = os.fstat(file.fileno())
    if read != expected_size or before.st_mtime_ns != after.st_mtime_ns:
        raise Changed("changed while it was read")
    return digest.hexdigest()
