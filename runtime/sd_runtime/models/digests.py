"""SHA-256 of model files, computed once while a file stays the same and kept over restarts.

A file is the same as long as its device, inode, size and time of change are. Knows nothing of what the files
are, nor of torch.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

from sd_runtime.errors import CheckpointUnavailable
from sd_runtime.models.diffusers_layout import all_weight_files

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
#: Of the cache's file; the oldest go first.
MAX_KNOWN = 20_000

FileKey = tuple[int, int, int, int]


def key_of(stat: os.stat_result) -> FileKey:
    """What a file is recognised by: device, inode, size, time of change in nanoseconds."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


class DigestCache:
    """Digests by `FileKey`, and by where in the file the digested bytes begin. May be used by any thread.

    With a path they are kept in that file, which is replaced by rename; one that cannot be read or written
    only costs the time to hash again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._known: dict[str, str] = _load(path) if path else {}

    def get(self, key: FileKey, *, start: int = 0) -> str | None:
        """The digest of the file with this key, from the byte `start` to its end, if it was made before."""
        with self._lock:
            return self._known.get(_name(key, start))

    def put(self, key: FileKey, sha256: str, *, start: int = 0) -> None:
        """Remember a digest."""
        with self._lock:
            if self._known.get(_name(key, start)) == sha256:
                return
            self._known[_name(key, start)] = sha256
            if self._path is not None:
                self._known = _merge(self._path, self._known)

    def compute(self, path: Path, *, start: int = 0) -> str:
        """The digest of the file from the byte `start` to its end, reading it if it is not known; one file
        at a time. Raises `CheckpointUnavailable`."""
        with self._hashing:
            try:
                with FileIO(path) as file:
                    key = key_of(os.fstat(file.fileno()))
                    known = self.get(key, start=start)
                    if known is None:
                        known = _hash(file, start)
                        if key_of(os.fstat(file.fileno())) != key:
                            raise CheckpointUnavailable(f"{path.name}: the file changed while it was read")
                        self.put(key, known, start=start)
                    return known
            except OSError as error:
                raise CheckpointUnavailable(f"{path.name}: cannot be read: {error.strerror}") from error

    def compute_folder(self, folder: Path) -> str:
        """The digest of a model in parts, `digest_of_parts` of its weight files. Raises
        `CheckpointUnavailable`."""
        try:
            paths = all_weight_files(folder)
        except OSError as error:
            raise CheckpointUnavailable(f"{folder.name}: cannot be read: {error.strerror}") from error
        return digest_of_parts({path.relative_to(folder).as_posix(): self.compute(path) for path in paths})


def digest_of_parts(digests: Mapping[str, str]) -> str:
    """One digest for several files, given each one's own by its path below their folder: that of the lines
    "<digest>  <path>" in the order of the paths, as the program sha256sum writes them."""
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def _hash(file: FileIO, start: int) -> str:
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(CHUNK))
    file.seek(start)
    while count := file.readinto(chunk):
        digest.update(chunk[:count])
    return digest.hexdigest()


def _name(key: FileKey, start: int) -> str:
    return "-".join(str(number) for number in (*key, start))


def _load(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("%s is not read, so that files are hashed again: %s", path, error)
        return {}
    if not isinstance(document, dict):
        logger.warning("%s is not read, so that files are hashed again: it is no object", path)
        return {}
    return {name: digest for name, digest in document.items() if isinstance(digest, str)}


def _merge(path: Path, known: dict[str, str]) -> dict[str, str]:
    """Write what is known to the file, beside what other processes wrote there."""
    merged = {**_load(path), **known}
    while len(merged) > MAX_KNOWN:
        del merged[next(iter(merged))]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(merged, indent=0), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        logger.warning(
            "%s cannot be written, so that files are hashed again after a restart: %s", path, error
        )
    return merged
