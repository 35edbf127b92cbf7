"""What a candidate is, told from its own bytes: type, family, format; or why no bundle can have it.

The same judgement that the fetch will pass on the file, so that what is imported is what will be let in. Of a
safetensors file only the header is read, of a pickle only its description of the tensors, which is read
without executing anything. Knows nothing of names and digests.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles import describe, header, pickles, sniff
from sd_modelfiles.family import Family
from sd_modelfiles.header import Header, HeaderError
from sd_modelfiles.kinds import ModelType
from sd_operator.bundle.importing.walking import Candidate


class NotImportable(Exception):
    """No bundle can have the file; the message says why."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a file is."""

    type: ModelType
    family: Family | None  # None: the file shows none
    pickle: bool
    size: int
    inode: tuple[int, int] | None  # device and number, of a file with several names (hard links)
    contradiction: str | None  # how folder and header disagree


def read(candidate: Candidate, *, scan_pickles: bool) -> Model:
    """The model that the file is; raises NotImportable."""
    try:
        with candidate.path.open("rb") as file:
            status = os.fstat(file.fileno())
            prefix = file.read(sniff.SNIFF_BYTES)
        if not prefix:
            raise NotImportable("is empty")
        pickle = sniff.is_pickle(prefix)
        if pickle and not scan_pickles:
            raise NotImportable(
                "a pickle, which can hold code; --pickles scan takes it where it holds nothing but tensors"
            )
        shown = _pickle_header(candidate.path) if pickle else _header(candidate.path, prefix)
    except OSError as error:
        raise NotImportable(f"cannot be read: {error.strerror or error}") from error
    found, family, contradiction = _judged(candidate, shown)
    # Of files with one name it says nothing: some network file systems number them all alike.
    inode = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
    return Model(found, family, pickle, status.st_size, inode, contradiction)


def _header(path: Path, prefix: bytes) -> Header:
    other = sniff.other_format(prefix)
    if other is not None:
        raise NotImportable(other)
    try:
        return header.read(path)
    except HeaderError as error:
        raise NotImportable(f"no whole safetensors file: {error}") from error


def _pickle_header(path: Path) -> Header:
    try:
        return pickles.inspect(path).header
    except pickles.PickleUnsafe as error:
        raise NotImportable(str(error)) from error
    except pickles.PickleMalformed as error:
        raise NotImportable(f"a pickle that cannot be read: {error}") from error


def _judged(candidate: Candidate, shown: Header) -> tuple[ModelType, Family | None, str | None]:
    found = describe.describe(shown).type
    wanted = found or candidate.hint
    try:
        description = describe.judge(shown, wanted_type=wanted, wanted_family="Auto")
    except describe.Contradicted as error:
        raise NotImportable(f"a bundle would refuse it: {error}") from error
    contradiction = None
    if wanted is not candidate.hint:
        contradiction = f"lies where {candidate.hint}s lie, but by its tensors is a {wanted}; taken as that"
    return wanted, description.family, contradiction
