"""The checkpoints a client sees, and every spelling of a checkpoint's name that A1111 accepts.

Listed from the model roots; the digests come from what was really loaded, else from the library, which knows
the volume's manifest. Nothing is hashed here but the 64 KiB of A1111's old short hash.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles.kinds import ModelType
from sd_runtime.models.library import Library, ModelFile

_OLD_HASH_OFFSET = 0x100000
_OLD_HASH_BYTES = 0x10000
_OLD_HASH = re.compile(r"(?:.* \[)?([0-9a-f]{8})\]?")
_BRACKET = re.compile(r"\s*\[[0-9a-fA-F]*\]\s*$")
#: A folder in diffusers' layout has none, and dots may be part of its name.
_ENDINGS = (".safetensors", ".ckpt")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file, or one folder in diffusers' layout; `name` is its path below the folder it was found in."""

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
    def stem(self) -> str:
        """The last part of the name without ending."""
        return _without_ending(self.name.rpartition("/")[2])

    @property
    def model_name(self) -> str:
        """The name without folder separators and ending."""
        return _without_ending(self.name.replace("/", "_"))

    def old_hash(self) -> str | None:
        """A1111's first kind of hash; clients still send it. None when the file cannot be read."""
        try:
            with self.path.open("rb") as file:
                file.seek(_OLD_HASH_OFFSET)
                return hashlib.sha256(file.read(_OLD_HASH_BYTES)).hexdigest()[:8]
        except OSError:
            return None

    def goes_by(self, name: str) -> bool:
        """Whether the name means exactly this checkpoint; reads the file only for an old hash."""
        if name in self._spellings():
            return True
        old = _OLD_HASH.fullmatch(name)
        if old is None or old[1] != self.old_hash():
            return False
        return name in (old[1], f"{self.name} [{old[1]}]", f"{self.stem} [{old[1]}]")

    def _spellings(self) -> set[str]:
        names = {self.name, self.title, self.model_name, self.name.rpartition("/")[2], self.stem}
        if self.sha256:
            names |= {self.sha256, self.sha256[:10], f"{self.stem} [{self.sha256[:10]}]"}
        return names


class Shelf:
    """The checkpoints of a library, and those that are served from elsewhere."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def entry(self, path: Path, sha256: str | None = None) -> Checkpoint:
        """The file as clients see it; without a digest of what was loaded, the library's is shown."""
        for each in self._library.all(ModelType.CHECKPOINT):
            if each.path == path:
                return Checkpoint(path, each.name, sha256 or each.sha256)
        return Checkpoint(path, path.name, sha256)

    def all(self, served: Checkpoint | None) -> list[Checkpoint]:
        """Every checkpoint, the served one among them, by name."""
        return _sorted(self._library.all(ModelType.CHECKPOINT), served)

    def usable(self, served: Checkpoint | None) -> list[Checkpoint]:
        """Those of them whose files show no fault."""
        return _sorted(self._library.usable(ModelType.CHECKPOINT), served)


def _sorted(files: Iterable[ModelFile], served: Checkpoint | None) -> list[Checkpoint]:
    found = {each.path: Checkpoint(each.path, each.name, each.sha256) for each in files}
    if served is not None:
        found[served.path] = served
    return sorted(found.values(), key=lambda each: each.name.lower())


def find(name: str, shelf: Iterable[Checkpoint]) -> Checkpoint | None:
    """The checkpoint that A1111 would take: an exact spelling, else the shortest title with the text in
    it."""
    checkpoints = list(shelf)
    for wanted in dict.fromkeys((name.strip(), _BRACKET.sub("", name.strip()))):
        if not wanted:
            continue
        for checkpoint in checkpoints:
            if checkpoint.goes_by(wanted):
                return checkpoint
        within = [each for each in checkpoints if wanted in each.title]
        if within:
            return min(within, key=lambda each: len(each.title))
    return None


def _without_ending(name: str) -> str:
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)
