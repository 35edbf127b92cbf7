"""Pictures as numbered files in a folder a day, each whole or not there: A1111's outputs/ layout.

`<root>/txt2img-images/2030-01-31/00000-<seed>.png`. A file gets its name by a hard link from a finished
temporary file, which fails when the name is taken: two replicas on one shared volume never overwrite each
other's pictures.
"""

import os
import tempfile
from contextlib import suppress
from datetime import date
from pathlib import Path

TXT2IMG = "txt2img-images"


class OutputFolder:
    """Where the pictures of this process are saved."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._next: dict[Path, int] = {}

    @property
    def txt2img(self) -> Path:
        """The folder that holds a folder a day."""
        return self.root / TXT2IMG

    def save(self, png: bytes, *, seed: int, day: date) -> Path:
        """Writes one picture under the next free number of the day; raises OSError when it cannot."""
        folder = self.txt2img / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(png)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            return self._name(temporary, folder, seed)
        finally:
            temporary.unlink()

    def _name(self, temporary: Path, folder: Path, seed: int) -> Path:
        """Links the file to the first number that is free, beginning after the highest one in use."""
        number = self._next.get(folder)
        if number is None:
            number = _after_highest(folder)
        while True:
            path = folder / f"{number:05}-{seed}.png"
            number += 1
            # Numbers count for the folder, whatever the seed in the name.
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
                self._next = {folder: number}
                return path


def _after_highest(folder: Path) -> int:
    beginnings = [path.name.partition("-")[0] for path in folder.iterdir()]
    return max((int(number) for number in beginnings if number.isdecimal()), default=-1) + 1
