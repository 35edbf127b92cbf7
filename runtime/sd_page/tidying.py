"""Removes files of pictures that nobody is likely to look at any more: by their age, and by what all take."""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

#: Seconds between two looks; bytes of all files, and seconds since each was written, that are left.
_EVERY, _BYTES, _SECONDS = 60.0, 512 * 2**20, 4 * 3600.0


@dataclass(frozen=True, slots=True)
class File:
    """A file, its size and when it was written, in seconds since 1970."""

    path: Path
    bytes: int
    written: float


def too_many(
    files: Iterable[File], *, now: float, seconds: float = _SECONDS, bytes: int = _BYTES
) -> list[File]:
    """Those that have to go: too old, or the oldest of what takes more than `bytes` together."""
    gone, left = [], bytes
    for file in sorted(files, key=lambda each: each.written, reverse=True):
        left -= file.bytes
        if left < 0 or now - file.written > seconds:
            gone.append(file)
    return gone


async def forever(folder: Path) -> None:
    """Keeps the folder small."""
    while True:
        await asyncio.sleep(_EVERY)
        await asyncio.to_thread(tidy, folder)


def tidy(folder: Path) -> None:
    """Removes what has to go, and folders that are left empty."""
    for file in too_many(_files(folder), now=time.time()):
        try:
            file.path.unlink(missing_ok=True)
            if file.path.parent != folder:
                file.path.parent.rmdir()
        except OSError as error:  # another file is in it, or a disk that is gone
            logger.debug("%s stays: %s", file.path, error)


def _files(folder: Path) -> list[File]:
    found = []
    for path in folder.rglob("*"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found.append(File(path, stat.st_size, stat.st_mtime))
    return found
