"""A file as `torch.save` writes it: the pickle that says what there is, and where the numbers lie.

Two formats: since PyTorch 1.6 a zip archive with `<name>/data.pkl` and `<name>/data/<key>`; before, five
pickles in a row (magic number, version, machine, the value, the keys of the storages) and then the storages.
Knows nothing of what the tensors are called.
"""

import struct
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

from sd_modelfiles.pickles import archive
from sd_modelfiles.pickles.errors import PickleMalformed
from sd_modelfiles.pickles.machine import Machine
from sd_modelfiles.pickles.values import Mapping, Storage

ZIP, LEGACY = "torch zip", "torch legacy"

# That of a checkpoint of SDXL with smoothed weights and a trainer's state has 2 MiB.
MAX_PICKLE_BYTES = 8 * 1024 * 1024

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Contents:
    """What the file makes, and the first and the last byte of what lies under the key of a storage."""

    root: object
    extents: dict[str, tuple[int, int]]

    def place(self, storage: Storage, itemsize: int) -> int:
        """Where the storage begins in the file; it lies there whole."""
        if storage.key not in self.extents:
            raise PickleMalformed(f"storage {storage.key[:200]!r} is not in the file as it is")
        begin, end = self.extents[storage.key]
        begin += storage.base * itemsize
        if begin + storage.count * itemsize > end:
            raise PickleMalformed(
                f"storage {storage.key[:200]!r} should have {storage.count} elements, the file has fewer"
            )
        return begin


@dataclass(slots=True)
class Reading:
    """One reading of a file. What globals it named is known even when the reading fails."""

    file: BinaryIO
    size: int
    format: str = ""
    symbols: dict[str, bool] = field(default_factory=dict)

    @property
    def refused(self) -> tuple[str, ...]:
        """The globals that were named so far and are not allowed."""
        return tuple(words for words, permitted in self.symbols.items() if not permitted)

    def contents(self) -> Contents:
        """Raises PickleMalformed."""
        self.file.seek(0)
        if self.file.read(4) == b"PK\x03\x04":
            self.format = ZIP
            return self._of_archive()
        self.format = LEGACY
        return self._of_sequence()

    def _machine(self, data: bytes) -> Machine:
        machine = Machine(data)
        self.symbols = machine.symbols
        return machine

    def _of_archive(self) -> Contents:
        members = archive.members(self.file, self.size)
        pickles = [name for name in members if PurePosixPath(name).name == "data.pkl"]
        if len(pickles) != 1:
            raise PickleMalformed(f"the archive has {len(pickles)} members data.pkl; PyTorch writes one")
        folder = pickles[0].removesuffix("data.pkl")
        if any(name == f"{folder}constants.pkl" or name.startswith(f"{folder}code/") for name in members):
            self.symbols[f"TorchScript ({folder}code)"] = False
            raise PickleMalformed("the file is a TorchScript program")
        if f"{folder}byteorder" in members and self._content(members[f"{folder}byteorder"]) != b"little":
            raise PickleMalformed("the file was written on a big-endian machine")
        root, _ = self._machine(self._content(members[pickles[0]])).run()
        data = f"{folder}data/"
        extents = {
            name.removeprefix(data): (member.begin, member.begin + member.size)
            for name, member in members.items()
            if name.startswith(data) and member.is_stored
        }
        return Contents(root, extents)

    def _content(self, member: archive.Member) -> bytes:
        if not member.is_stored:
            raise PickleMalformed("the pickle is compressed or encrypted, as PyTorch never writes it")
        if member.size > MAX_PICKLE_BYTES:
            raise PickleMalformed(f"the pickle has {member.size} bytes; at most {MAX_PICKLE_BYTES}")
        self.file.seek(member.begin)
        return self.file.read(member.size)

    def _of_sequence(self) -> Contents:
        self.file.seek(0)
        machine = self._machine(self.file.read(MAX_PICKLE_BYTES))
        magic, at = machine.run()
        if magic != _MAGIC:
            raise PickleMalformed("the file is a pickle, but not one that torch.save wrote")
        version, at = machine.run(at)
        platform, at = machine.run(at)
        if version != _VERSION or not _is_little_endian(platform):
            raise PickleMalformed("the file was written by an unknown PyTorch, or on a big-endian machine")
        root, at = machine.run(at)
        keys, at = machine.run(at)
        return Contents(root, self._extents(keys, machine.itemsizes, at))

    def _extents(self, keys: object, itemsizes: dict[str, int], at: int) -> dict[str, tuple[int, int]]:
        """Each storage is the count of its elements and then these, in the order of the keys."""
        if not isinstance(keys, list):
            raise PickleMalformed("the keys of the storages are no list")
        extents: dict[str, tuple[int, int]] = {}
        for key in keys:
            if not isinstance(key, str) or key in extents or key not in itemsizes:
                raise PickleMalformed("the file lists a storage that no tensor has, or one twice")
            self.file.seek(at)
            raw = self.file.read(_COUNT.size)
            count = _COUNT.unpack(raw)[0] if len(raw) == _COUNT.size else -1
            begin = at + _COUNT.size
            at = begin + count * itemsizes[key]
            if count < 0 or at > self.size:
                raise PickleMalformed(f"storage {key[:200]!r} reaches beyond the end of the file")
            extents[key] = (begin, at)
        return extents


def _is_little_endian(platform: object) -> bool:
    return isinstance(platform, Mapping) and any(
        key == "little_endian" and value is True for key, value in platform.pairs
    )
