"""A partial download on the volume: its bytes, which of them are there, and the notes to go on from.

`.sd-operator/partial/<key>.part` beside its `.journal`, `.json` (the notes) and `.lock`. The bytes are kept
under the manifest's folder, never under models/, and leave it by one rename when they are whole. Knows
nothing of HTTP.
"""

import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from sd_modelfiles import place
from sd_operator.fetch import notes
from sd_operator.fetch.journal import Journal, Span
from sd_operator.fetch.notes import Notes
from sd_operator.fetch.stopping import Stop

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_SUFFIXES = (
    ".part",
    ".journal",
    ".converted",
    ".link",
    ".companion",
    ".companion.new",
    ".json",
    ".json.new",
)
_LOCK_SUFFIX = ".lock"
# A file name has 255 bytes; a bundle's name alone may have 253.
_KEY_LENGTH = 200

log = logging.getLogger(__name__)


def key_of(bundle: str, file: str) -> str:
    """What a file's partial download is called on the volume."""
    key = f"{bundle}--{file}"
    if len(key) <= _KEY_LENGTH:
        return key
    return f"{bundle[:100]}-{hashlib.sha256(bundle.encode()).hexdigest()[:16]}--{file}"


def folder_of(root: Path) -> Path:
    return root / place.OWN_FOLDER / "partial"


def notes_of(root: Path, key: str) -> Notes | None:
    """The notes of an earlier fetch of this file."""
    return notes.load(folder_of(root) / f"{key}.json")


def forget(root: Path, key: str) -> None:
    """Remove what is left of a download, the file's lock apart: another process may wait for it."""
    for suffix in _SUFFIXES:
        (folder_of(root) / f"{key}{suffix}").unlink(missing_ok=True)


def ages(root: Path) -> dict[str, float]:
    """For how many seconds each download has been left alone, by key; those that are only a lock, too."""
    newest: dict[str, float] = {}
    locks: dict[str, float] = {}
    now = time.time()
    for path in _files(root):
        suffix = next((each for each in (*_SUFFIXES, _LOCK_SUFFIX) if path.name.endswith(each)), None)
        if suffix is None:
            continue
        try:
            age = now - path.lstat().st_mtime
        except FileNotFoundError:
            continue
        key, found = path.name.removesuffix(suffix), locks if suffix == _LOCK_SUFFIX else newest
        found[key] = min(age, found.get(key, age))
    return locks | newest


def _files(root: Path) -> list[Path]:
    try:
        return sorted(folder_of(root).iterdir())
    except FileNotFoundError:
        return []


def forget_lock(root: Path, key: str) -> None:
    """Remove the lock as well. The caller holds it, and nothing is left of the download."""
    _lock_of(root, key).unlink(missing_ok=True)


@contextmanager
def locked(root: Path, key: str, stop: Stop) -> Iterator[None]:
    """Hold the file's lock: of two fetches of one file, the second waits and then finds the work done."""
    while True:
        with _lock_file(root, key) as descriptor:
            if not _try_lock(descriptor):
                log.info("another fetch of %s is running; waiting for it to end", key)
                with stop.interruptible():
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Upkeep removes old locks: one that is not there any more keeps nobody out.
            if _is_at(_lock_of(root, key), descriptor):
                yield
                return


@contextmanager
def locked_if_free(root: Path, key: str) -> Iterator[bool]:
    """Hold the file's lock unless a fetch has it."""
    with _lock_file(root, key) as descriptor:
        yield _try_lock(descriptor) and _is_at(_lock_of(root, key), descriptor)


def _lock_of(root: Path, key: str) -> Path:
    return folder_of(root) / f"{key}{_LOCK_SUFFIX}"


@contextmanager
def _lock_file(root: Path, key: str) -> Iterator[int]:
    path = _lock_of(root, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class Withdrawn(Exception):
    """The thread has no right to write any more."""


class Partial:
    """The open partial file of one download. The caller holds its lock."""

    def __init__(self, root: Path, key: str, owner: str) -> None:
        folder = folder_of(root)
        self.path = folder / f"{key}.part"
        self.converted = folder / f"{key}.converted"
        self._notes_path = folder / f"{key}.json"
        self._boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        self._noting = threading.Lock()
        self._closed = False
        self._restarts = 0
        self.notes = Notes(owner=owner)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o666)
        self._journal = Journal(folder / f"{key}.journal")
        self.converted.unlink(missing_ok=True)
        self._take_up(notes.load(self._notes_path), owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        with self._noting:
            self._closed = True
        self._journal.close()
        os.close(self._descriptor)

    @property
    def present(self) -> int:
        """How many bytes are there."""
        return self._journal.present

    def frontier(self) -> int:
        """The number of bytes from the first on without a gap."""
        return self._journal.frontier()

    def missing(self) -> list[Span]:
        """What the file lacks, in order; its size is known."""
        assert self.notes.total is not None
        return self._journal.missing(self.notes.total)

    def is_whole(self) -> bool:
        return self.notes.total is not None and self.frontier() == self.notes.total

    def read_into(self, buffer: memoryview, offset: int) -> int:
        return os.preadv(self._descriptor, [buffer], offset)

    def head(self, length: int) -> bytes:
        """The first bytes; fewer where there are fewer."""
        return os.pread(self._descriptor, min(length, self.frontier()), 0)

    def fits(self, identity: str, promise: str | None) -> bool:
        """Whether what is here belongs to this source, or to another that promises the same bytes."""
        known = self.notes
        return known.identity == identity or (promise is not None and promise == known.promise)

    def begin(
        self, *, identity: str, etag: str | None, version: str | None, total: int | None, promise: str | None
    ) -> None:
        """Note whose bytes follow; those that are here are held to be of the same file."""
        with self._noting:
            others = bool(self.present) and self.notes.identity != identity
            changed = replace(
                self.notes,
                identity=identity,
                etag=etag,
                version=version or (None if others else self.notes.version),
                total=total,
                promise=promise,
                mixed=self.notes.mixed or others,
                boot_id=self._boot_id,
            )
            if changed != self.notes:
                self._note(changed)

    def know_total(self, total: int) -> None:
        """The size of the file became known."""
        with self._noting:
            self._note(replace(self.notes, total=total))

    def writer(self) -> "Writer":
        return Writer(self._descriptor, self._journal)

    def sync(self) -> None:
        """Make the bytes so far survive a crash of the node."""
        with self._noting:
            spans, restarts = tuple(self._journal.spans()), self._restarts
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            # What the kernel could not write it may drop: nothing since the last time is certain.
            with self._noting:
                if not self._closed:
                    self._journal.cover(self.notes.synced)
            raise
        with self._noting:
            # Those bytes may have been forgotten meanwhile.
            if not self._closed and restarts == self._restarts:
                self._note(replace(self.notes, synced=spans), durably=True)

    def restart(self) -> None:
        """Forget the bytes. The notes go first: bytes without an etag are never gone on with."""
        with self._noting:
            self._restarts += 1
            self._note(Notes(owner=self.notes.owner, identity=self.notes.identity), durably=True)
            self._journal.cover(())
            os.ftruncate(self._descriptor, 0)

    def seal(
        self, *, sha256: str, source_sha256: str, path: str = "", companions: tuple[str, ...] = ()
    ) -> None:
        """Note what is about to be put in place: should the process die then, this tells whose it is."""
        with self._noting:
            sealed = replace(
                self.notes, sha256=sha256, source_sha256=source_sha256, path=path, companions=companions
            )
            self._note(sealed, durably=True)

    def _take_up(self, earlier: Notes | None, owner: str) -> None:
        if earlier is None or earlier.etag is None:
            self.restart()
            return
        self.notes = replace(earlier, owner=owner, sha256=None, source_sha256="", path="", companions=())
        size = os.fstat(self._descriptor).st_size
        # On the same boot there was no crash: what was written is there.
        if self._boot_id != "" and earlier.boot_id == self._boot_id:
            self._journal.read(limit=size)
        else:
            self._journal.cover(Span(span.start, min(span.end, size)) for span in earlier.synced)

    def _note(self, changed: Notes, *, durably: bool = False) -> None:
        """Replace the notes. The caller holds the lock: one temporary file serves all."""
        # Notes that a crash loses cost bytes; only those that say less than the ones before must not be lost.
        notes.save(self._notes_path, changed, durably=durably)
        self.notes = changed


class Writer:
    """The right to write a partial file. Once withdrawn it is of no use to a thread that still holds it."""

    def __init__(self, descriptor: int, journal: Journal) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._turn = threading.Condition()
        self._writing = 0
        self._withdrawn = False

    def write(self, offset: int, chunk: bytes | memoryview) -> None:
        with self._turn:
            if self._withdrawn:
                raise Withdrawn
            self._writing += 1
        try:
            rest = memoryview(chunk)
            while rest:
                count = os.pwrite(self._descriptor, rest, offset)
                self._journal.advance(Span(offset, offset + count))
                offset, rest = offset + count, rest[count:]
        finally:
            with self._turn:
                self._writing -= 1
                self._turn.notify_all()

    def withdraw(self) -> None:
        """From now on nothing is written; returns when the writes under way have ended."""
        with self._turn:
            self._withdrawn = True
            self._turn.wait_for(lambda: self._writing == 0)
