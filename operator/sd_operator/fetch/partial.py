"""A partial download on the volume: the bytes so far, their hash, and the notes to go on from.

`.sd-operator/partial/<name>.part` beside `<name>.json` (the notes) and `<name>.lock`. The bytes are kept
under the manifest's folder, never under models/, and leave it by one rename when they are whole. Knows
nothing of HTTP.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from sd_modelfiles import manifest, place
from sd_operator.fetch.stopping import Stop

CHUNK_BYTES = 1024 * 1024
# How much a crash of the node may cost; a killed process loses nothing that it wrote.
_SYNC_BYTES = 64 * CHUNK_BYTES

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notes:
    identity: str  # of the source
    etag: str | None = None  # strong; None means that the bytes cannot be gone on with
    version: str | None = None  # what the source's moving revision stood for
    synced: int = 0  # bytes known to be on the disk, whatever happens to the node
    boot_id: str = ""  # of the node that wrote the bytes after those
    sha256: str | None = None  # set when the bytes are whole and verified, just before the rename


@contextmanager
def locked(root: Path, name: str, stop: Stop) -> Iterator[None]:
    """Hold the file's lock: of two fetches of one file, the second waits and then finds the work done."""
    folder = _folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another fetch of file %s is running; waiting for it to end", name)
            with stop.interruptible():
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def load_notes(root: Path, name: str) -> Notes | None:
    """The notes of an earlier fetch of this file; None when there are none that can be understood."""
    try:
        return Notes(**json.loads((_folder(root) / f"{name}.json").read_bytes()))
    except FileNotFoundError:
        return None
    # Notes cut by a crash, or of another version: only a download's beginning is lost with them.
    except (ValueError, TypeError):
        return None


class Partial:
    """The open partial file of one download. The caller holds its lock."""

    def __init__(self, root: Path, name: str, identity: str) -> None:
        self._path = _folder(root) / f"{name}.part"
        self._notes_path = _folder(root) / f"{name}.json"
        self._boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        self._hash = hashlib.sha256()
        self.offset = 0
        self.notes = Notes(identity)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        earlier = load_notes(root, name)
        if earlier is not None and earlier.identity == identity and earlier.etag is not None:
            self.notes = earlier
            os.ftruncate(self._descriptor, self._trusted(earlier))
        elif earlier is not None:
            self.restart()
        else:
            os.ftruncate(self._descriptor, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._descriptor)

    def contents(self) -> Iterator[bytes]:
        """The bytes of an earlier process, hashed as they are read; to be exhausted before any write."""
        while chunk := os.read(self._descriptor, CHUNK_BYTES):
            self._hash.update(chunk)
            self.offset += len(chunk)
            yield chunk

    def begin(self, *, etag: str | None, version: str | None) -> None:
        """Note whose bytes follow; what is already here came under the same etag."""
        self._note(
            replace(self.notes, etag=etag, version=version or self.notes.version, boot_id=self._boot_id)
        )

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._hash.update(chunk)
        self.offset += len(chunk)
        if self.offset - self.notes.synced >= _SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Make the bytes so far survive a crash of the node."""
        os.fsync(self._descriptor)
        self._note(replace(self.notes, synced=self.offset))

    def restart(self) -> None:
        """Forget the bytes. The notes go first: bytes without an etag are never gone on with."""
        self._note(Notes(self.notes.identity), durably=True)
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = 0

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def move_to(self, target: Path) -> None:
        """Rename the whole file into place, durably."""
        os.fsync(self._descriptor)
        # Should the process die between the rename and the manifest's entry, this tells whose file it is.
        self._note(replace(self.notes, synced=self.offset, sha256=self.sha256()), durably=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(target)
        manifest.sync_folder(target.parent)

    @staticmethod
    def forget(root: Path, name: str) -> None:
        """Remove what is left of a download, the file's lock apart: another process may wait for it."""
        for suffix in ("part", "json"):
            (_folder(root) / f"{name}.{suffix}").unlink(missing_ok=True)

    def _trusted(self, notes: Notes) -> int:
        size = os.fstat(self._descriptor).st_size
        # After a crash the file may have its length and not its bytes; on the same boot there was no crash.
        same_boot = self._boot_id != "" and notes.boot_id == self._boot_id
        return size if same_boot else min(size, notes.synced)

    def _note(self, notes: Notes, *, durably: bool = False) -> None:
        # Notes that a crash loses cost bytes; only those that say less than the ones before must not be lost.
        temporary = self._notes_path.with_suffix(".json.new")
        with temporary.open("w") as file:
            file.write(json.dumps(asdict(notes)))
            if durably:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(self._notes_path)
        if durably:
            manifest.sync_folder(self._notes_path.parent)
        self.notes = notes


def _folder(root: Path) -> Path:
    return root / place.OWN_FOLDER / "partial"
