"""Pictures as numbered files in a folder a day, each whole or not there: A1111's outputs/ layout.

`<root>/txt2img-images/2030-01-31/00000-<seed>.png`, `<root>/txt2img-grids/2030-01-31/grid-0000.png`. A file
gets its name by a hard link from a finished temporary file, which fails when the name is taken: two replicas
on one shared volume never overwrite each other's pictures. Where there are no hard links, an empty file takes
the name for the moment before.
"""

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

from sd_runtime.errors import UnsupportedError

logger = logging.getLogger(__name__)

#: What is saved, and in which folder.
FOLDERS = {
    "txt2img": "txt2img-images",
    "img2img": "img2img-images",
    "extras": "extras-images",
    "txt2img-grid": "txt2img-grids",
    "img2img-grid": "img2img-grids",
}
_GRID = "grid-"
#: What a file system says that has no hard links (SMB, many that lie over object stores).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class OutputFolder:
    """Where the pictures of this process are saved, and for how many days they stay (None: for ever)."""

    def __init__(self, root: Path, retention_days: int | None = None) -> None:
        self.root = root
        self._retention_days = retention_days
        self._next: dict[Path, int] = {}

    def folder(self, kind: str) -> Path:
        """The folder that holds a folder a day, of one kind of pictures."""
        if kind not in FOLDERS:
            raise UnsupportedError("kind", kind, FOLDERS)
        return self.root / FOLDERS[kind]

    def save(self, data: bytes, *, kind: str, extension: str, day: date, seed: int | None = None) -> Path:
        """Writes one file under the next free number of the day; raises OSError when it cannot."""
        folder = self.folder(kind) / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            return self._name(temporary, folder, kind, f"{'' if seed is None else f'-{seed}'}.{extension}")
        finally:
            temporary.unlink(missing_ok=True)

    def _name(self, temporary: Path, folder: Path, kind: str, ending: str) -> Path:
        """Links the file to the first number that is free, beginning after the highest one in use."""
        grid = kind.endswith("-grid")
        number = self._next.get(folder)
        if number is None:
            number = _after_highest(folder, _GRID if grid else "")
        while True:
            path = folder / (f"{_GRID}{number:04}{ending}" if grid else f"{number:05}{ending}")
            number += 1
            # Numbers count for the folder, whatever the seed in the name.
            with suppress(FileExistsError):
                _place(temporary, path)
                self._keep_count(folder, number)
                return path

    def _keep_count(self, folder: Path, number: int) -> None:
        """Of one day for each kind: the days before are over."""
        self._next = {
            **{day: n for day, n in self._next.items() if day.parent != folder.parent},
            folder: number,
        }

    def sweep(self, today: date) -> list[Path]:
        """Removes the folders of days that are longer ago than pictures are kept, and nothing else; returns
        those that are gone."""
        if self._retention_days is None:
            return []
        first_kept = today - timedelta(days=self._retention_days)
        gone = [folder for folder, day in self._days() if day < first_kept and _removed(folder)]
        if gone:
            logger.info("removed the pictures of %d days before %s", len(gone), first_kept)
        return gone

    def _days(self) -> Iterator[tuple[Path, date]]:
        for name in FOLDERS.values():
            with suppress(OSError):
                for path in sorted((self.root / name).iterdir()):
                    day = _day(path)
                    if day is not None:
                        yield path, day


def _place(temporary: Path, path: Path) -> None:
    """Gives a file a name that nothing has; raises FileExistsError where something has it."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # The name is taken by an empty file first, so that no other replica takes it.
        path.touch(mode=0o644, exist_ok=False)
        temporary.replace(path)


def _day(path: Path) -> date | None:
    """The day that a folder of ours is named after. A link is not ours: it may lead anywhere."""
    if path.is_symlink() or not path.is_dir():
        return None
    with suppress(ValueError):
        day = date.fromisoformat(path.name)
        return day if day.isoformat() == path.name else None
    return None


def _removed(folder: Path) -> bool:
    # Another replica may be removing it, too; and what cannot be removed must not keep the rest from going.
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        logger.warning("cannot remove all of %s", folder)
        return False
    return True


def _after_highest(folder: Path, prefix: str) -> int:
    names = [path.stem.removeprefix(prefix) for path in folder.iterdir() if path.name.startswith(prefix)]
    numbers = [name.partition("-")[0] for name in names]
    return max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
