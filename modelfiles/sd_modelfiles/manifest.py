"""The manifest of a volume: which files lie on it, whole and verified, and where each came from.

`.sd-operator/manifest.json`, one entry per path. It is replaced by rename, so a reader sees the old or the
new one and needs no lock; writers take the lock, because several fetches may end at once. What it says about
a file was true when the file was renamed into place; whoever needs it to be true now hashes the file.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path, PurePosixPath

from sd_modelfiles import place

VERSION = 1

_POLL_SECONDS = 0.05


class ManifestError(Exception):
    """The manifest cannot be understood; the message names the file and the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    path: str  # relative to the root of the volume
    size: int
    sha256: str
    type: str
    family: str  # "" when the file shows none
    source: str  # without credentials
    rank: int | None = None  # of a LoRA
    source_sha256: str = ""  # of the bytes that were fetched, when they were converted
    owners: tuple[str, ...] = ()  # "<bundle>/<file>" of every file of a bundle that is this one
    companions: tuple[str, ...] = ()  # files that came along and go along, relative to the root


@dataclass(frozen=True, slots=True)
class Manifest:
    files: tuple[Entry, ...] = ()

    def at(self, path: str) -> Entry | None:
        return next((entry for entry in self.files if entry.path == path), None)

    def with_sha256(self, digest: str) -> tuple[Entry, ...]:
        """Every entry of a file with these bytes."""
        return tuple(entry for entry in self.files if entry.sha256 == digest)

    def with_entry(self, entry: Entry) -> "Manifest":
        """The manifest in which this entry holds its path, whatever held it before."""
        return Manifest(tuple(sorted([*self.without(entry.path).files, entry], key=lambda each: each.path)))

    def without(self, path: str) -> "Manifest":
        return Manifest(tuple(entry for entry in self.files if entry.path != path))


def path_in(root: Path) -> Path:
    return root / place.OWN_FOLDER / "manifest.json"


def load(root: Path) -> Manifest:
    """The manifest of a volume; an empty one when nothing has been fetched to it yet."""
    path = path_in(root)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Manifest()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 text") from error
    try:
        return _decode(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: {str(error)[:300]}") from error


def _pause() -> None:
    time.sleep(_POLL_SECONDS)


@contextmanager
def locked(root: Path, *, waiting: Callable[[], None] = _pause) -> Iterator[None]:
    """Hold the volume's writers' lock; it is free again when the holder ends, however it ends.

    While another has it, `waiting` is called again and again: it passes the time, or raises.
    """
    folder = root / place.OWN_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(folder / "lock", flags, 0o666)
    try:
        while not _takes(descriptor):
            waiting()
        yield
    finally:
        os.close(descriptor)


def _takes(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def save(root: Path, manifest: Manifest) -> None:
    """Replace the manifest, durably. The caller holds the lock since it loaded what it changed."""
    path = path_in(root)
    temporary = path.with_suffix(".json.new")
    document = {"version": VERSION, "files": [asdict(entry) for entry in manifest.files]}
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and creations in a folder survive a crash of the node."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _decode(document: object) -> Manifest:
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise ValueError("not an object with a list of files")
    if document.get("version") != VERSION:
        raise ValueError(f"version {document.get('version')!r} is not known; this program knows {VERSION}")
    return Manifest(tuple(_entry(index, value) for index, value in enumerate(document["files"])))


def _entry(index: int, value: object) -> Entry:
    if not isinstance(value, dict):
        raise ValueError(f"files[{index}] is not an object")
    known: dict[str, object] = {}
    for field in fields(Entry):
        # Fields that an earlier program did not write have their defaults, those that a later one adds are
        # left alone; the version says whether the known ones still mean the same.
        if field.name in value or field.default is MISSING:
            known[field.name] = _checked(f"files[{index}].{field.name}", field.name, value.get(field.name))
    return Entry(**known)  # type: ignore[arg-type]  # each was checked above


def _checked(shown: str, name: str, value: object) -> object:
    if name in ("owners", "companions"):
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise ValueError(f"{shown} is {value!r}; expected a list of strings")
        if name == "companions":
            for path in value:
                _check_path(shown, path)
        return tuple(value)
    wanted = int if name in ("size", "rank") else str
    if type(value) is not wanted and not (name == "rank" and value is None):
        raise ValueError(f"{shown} is {value!r}; expected {wanted.__name__}")
    if name == "path":
        _check_path(shown, str(value))
    return value


def _check_path(shown: str, text: str) -> None:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{shown} {text!r} leaves the volume")
