"""The checkpoints a client sees, and every spelling of a checkpoint's name that A1111 accepts.

Listed from the model roots; the digests come from what was really loaded, else from the volume's manifest.
Nothing is hashed here but the 64 KiB of A1111's old short hash.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles import place
from sd_modelfiles.kinds import ModelType
from sd_runtime.models import volume

FOLDER = Path(place.folder_of(ModelType.CHECKPOINT))
_OLD_HASH_OFFSET = 0x100000
_OLD_HASH_BYTES = 0x10000
_BRACKET = re.compile(r"\s*\[[0-9a-fA-F]*\]\s*$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file; `name` is its path below the checkpoint folder of its root."""

    path: Path
    name: str
    sha256: str | None = None

    @property
    def short_hash(self) -> str | None:
        """The first ten digits of the SHA-256, which A1111 shows and puts into infotext."""
        return self.sha256[:10] if self.sha256 else None

    @property
    def title(self) -> str:
        """What A1111 calls the checkpoint in lists and in the option."""
        return f"{self.name} [{self.short_hash}]" if self.sha256 else self.name

    @property
    def model_name(self) -> str:
        """The name without folder separators and ending."""
        return self.name.replace("/", "_").rpartition(".")[0]

    def old_hash(self) -> str | None:
        """A1111's first kind of hash; clients still send it. None when the file cannot be read."""
        try:
            with self.path.open("rb") as file:
                file.seek(_OLD_HASH_OFFSET)
                return hashlib.sha256(file.read(_OLD_HASH_BYTES)).hexdigest()[:8]
        except OSError:
            return None

    def spellings(self) -> set[str]:
        """Every name that means exactly this file."""
        stem = Path(self.name).stem
        names = {self.name, self.title, self.model_name, Path(self.name).name, stem}
        if self.sha256:
            names |= {self.sha256, self.sha256[:10], f"{stem} [{self.sha256[:10]}]"}
        old = self.old_hash()
        if old:
            names |= {old, f"{self.name} [{old}]", f"{stem} [{old}]"}
        return names


class Shelf:
    """The checkpoint files below the roots."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def entry(self, path: Path, sha256: str | None = None) -> Checkpoint:
        """The file as clients see it; without a digest of what was loaded, the manifest's is shown."""
        for root in self._roots:
            if path.is_relative_to(root / FOLDER):
                name = str(path.relative_to(root / FOLDER))
                return Checkpoint(path, name, sha256 or _digests(root).get(path))
        return Checkpoint(path, path.name, sha256)

    def all(self, served: Checkpoint | None) -> list[Checkpoint]:
        """Every checkpoint file, the served one among them, by name."""
        found = {served.path: served} if served else {}
        for root in self._roots:
            digests = _digests(root)
            for path in (root / FOLDER).rglob("*.safetensors"):
                if path not in found and path.is_file():
                    name = str(path.relative_to(root / FOLDER))
                    found[path] = Checkpoint(path, name, digests.get(path))
        return sorted(found.values(), key=lambda each: each.name.lower())

    def relative(self, path: Path) -> str:
        """The path as the volume's manifest has it: below the first root that holds it."""
        return next(
            (str(path.relative_to(root)) for root in self._roots if path.is_relative_to(root)), str(path)
        )


def find(name: str, shelf: Iterable[Checkpoint]) -> Checkpoint | None:
    """The checkpoint that A1111 would take: an exact spelling, else the shortest title with the text in
    it."""
    checkpoints = list(shelf)
    for wanted in (name.strip(), _BRACKET.sub("", name.strip())):
        if not wanted:
            continue
        for checkpoint in checkpoints:
            if wanted in checkpoint.spellings():
                return checkpoint
        within = [each for each in checkpoints if wanted in each.title]
        if within:
            return min(within, key=lambda each: len(each.title))
    return None


def _digests(root: Path) -> dict[Path, str]:
    return {root / entry.path: entry.sha256 for entry in volume.entries(root)}
