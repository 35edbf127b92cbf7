"""Whether a file that could not be loaded is worth another load, found out without the device.

A load takes what is served from memory before it reads, so while requests are served the file is read to its
end here first. Knows nothing of tensors: a file with the wished digest may still be refused by the loader.
"""

import hashlib
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from sd_runtime.errors import Cancelled, CheckpointUnavailable

_CHUNK = 1 << 20

_FileKey = tuple[int, int, int, int]


class Trial:
    """One wished file, looked at again and again; it is read once for as long as it stays the same."""

    def __init__(self, path: Path, sha256: str | None) -> None:
        self._path = path
        self._wanted = sha256
        self._read: tuple[_FileKey, str] | None = None

    def demand(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Raises `CheckpointUnavailable` unless every byte can be read and they have the wished digest; and
        `Cancelled` soon after `is_over`."""
        try:
            sha256 = self._digest(is_over)
        except OSError as error:
            raise CheckpointUnavailable(f"{self._path.name}: cannot be read: {error.strerror}") from error
        if self._wanted not in (None, sha256):
            raise CheckpointUnavailable(
                f"{self._path.name}: the SHA-256 of its bytes is {sha256}, and {self._wanted} is wanted"
            )

    def _digest(self, is_over: Callable[[], bool]) -> str:
        with FileIO(self._path) as file:
            key = _key(file)
            # Only a wrong digest is good for not reading again: the right one does not say that the bytes
            # can still be read.
            if self._read is not None and self._read[0] == key and self._read[1] != self._wanted:
                return self._read[1]
            digest = hashlib.sha256()
            chunk = memoryview(bytearray(_CHUNK))
            while count := file.readinto(chunk):
                if is_over():
                    raise Cancelled(f"{self._path.name}: nobody waits for it any more")
                digest.update(chunk[:count])
            self._read = key, digest.hexdigest()
            return self._read[1]


def _key(file: FileIO) -> _FileKey:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
