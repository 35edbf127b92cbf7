"""Identical bytes are stored once: another name for a file of the volume instead of another copy.

Two names are one file only while nobody writes into it, and nobody does: files are replaced, not changed. A
volume without hard links keeps copies.
"""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles import manifest
from sd_modelfiles.manifest import Entry
from sd_operator.fetch import existing, hashing, partial
from sd_operator.fetch.errand import Errand

# How file systems say that they have no hard links, or no more of them for this file.
_NO_LINKS = frozenset(
    (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Twin:
    """A listed file at another path, by a name of its own that nobody else knows."""

    entry: Entry
    name: Path


@contextmanager
def twin_of(errand: Errand, sha256: str | None, *, besides: str) -> Iterator[Twin | None]:
    """Another name of a file that these bytes are, or become; the bytes under that name were hashed just now.

    Whatever becomes of the file at its own path meanwhile, the name stays what was hashed.
    """
    try:
        yield _twin(errand, sha256, besides) if sha256 is not None else None
    finally:
        _name(errand.root, errand.key).unlink(missing_ok=True)


def _twin(errand: Errand, sha256: str, besides: str) -> Twin | None:
    policy = errand.request.format_policy
    for entry in manifest.load(errand.root).files:
        path = errand.root / entry.path
        if entry.path == besides or not existing.is_of(entry, sha256, policy):
            continue
        try:
            state = path.lstat()
            if not stat.S_ISREG(state.st_mode) or state.st_size != entry.size:
                continue
            name = linked(errand.root, errand.key, path)
        except FileNotFoundError:
            continue
        if name is None:
            continue
        log.info("%s may be the same file; hashing it", entry.path)
        if hashing.sha256_of(name, errand.stop) == entry.sha256:
            return Twin(entry, name)
        log.warning("%s is damaged", path)
    return None


def _name(root: Path, key: str) -> Path:
    return partial.folder_of(root) / f"{key}.link"


def linked(root: Path, key: str, twin: Path, *, link: Callable[[Path, Path], None] = os.link) -> Path | None:
    """Another name of the file, among the partial downloads; None where the volume has no such thing."""
    name = _name(root, key)
    name.parent.mkdir(parents=True, exist_ok=True)
    name.unlink(missing_ok=True)
    try:
        link(twin, name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        log.info("the volume has no hard links (%s): a copy is kept", error.strerror)
        return None
    return name


def replace(source: Path, target: Path) -> None:
    """Rename, also where both are names of one file already: then rename does nothing at all."""
    source.replace(target)
    with contextlib.suppress(FileNotFoundError):
        source.unlink()
