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
from sd_runtime.models.diffusers_layout import all_weight_files
from sd_runtime.models.digests import CHUNK, FileKey, digest_of_parts, key_of


class Trial:
    """One wished file or folder, looked at again and again; a file is read once for as long as it stays the
    same."""

    def __init__(self, path: Path, sha256: str | None) -> None:
        self._path = path
        self._wanted = sha256
        self._read: tuple[FileKey, str] | None = None

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
        if not self._path.is_dir():
            return self._digest_of(self._path, is_over)
        return digest_of_parts(
            {
                path.relative_to(self._path).as_posix(): self._digest_of(path, is_over)
                for path in all_weight_files(self._path)
            }
        )

    def _digest_of(self, path: Path, is_over: Callable[[], bool]) -> str:
        with FileIO(path) as file:
            key = key_of(os.fstat(file.fileno()))
            # Only a wrong digest is good for not reading again: the right one does not say that the bytes
            # can still be read.
            if self._read is not None and self._read[0] == key and self._read[1] != self._wanted:
                return self._read[1]
            digest = hashlib.sha256()
            chunk = memoryview(bytearray(CHUNK))
            while count := file.readinto(chunk):
                if is_over():
                    raise Cancelled(f"{self._path.name}: nobody waits for it any more")
                digest.update(chunk[:count])
            self._read = key, digest.hexdigest()
            return self._read[1]
