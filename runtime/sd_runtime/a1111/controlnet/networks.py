"""The ControlNet files of a server by sd-webui-controlnet's names for them: the stem of the file with A1111's
first kind of hash. Reads headers, and 64 KiB of each file for that hash."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sd_modelfiles import controlnet, describe, header
from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import stock
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.digests import FileKey, key_of
from sd_runtime.models.library import Library, ModelFile

NONE = "None"

_HASH_OFFSET, _HASH_BYTES, _HASH_DIGITS = 0x100000, 0x10000, 8
_TITLE = re.compile(r"(.*\S)\s*\[([0-9a-fA-F]{8,64})\]", re.DOTALL)
_ENDING = re.compile(r"\.(?:safetensors|pth)$", re.IGNORECASE)
#: Of files whose header or hash is kept.
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Network:
    """A ControlNet's file; `title` is what lists, requests and infotext call it."""

    title: str
    path: Path
    #: As its header shows it; None: it does not.
    family: Family | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file's header shows."""

    family: Family | None = None
    #: Why it cannot be used.
    fault: str | None = None


def names(library: Library) -> list[str]:
    """The titles of those whose files show no fault."""
    return [each.title for each in usable(library)]


def usable(library: Library) -> list[Network]:
    """Those whose files show no fault, by name."""
    return [_network(file) for file in library.usable(ModelType.CONTROLNET) if _seen(file).fault is None]


def find(library: Library, field: str, name: str) -> Network:
    """The ControlNet that a field names: by its title, its file's name or stem, in any case. Raises
    `UnsupportedError` for one that is not here, whose hash is another one, or whose header shows that it
    cannot be used."""
    wanted = name.strip()
    # In whatever folder it lies.
    file = library.find(ModelType.CONTROLNET, wanted) or library.find(
        ModelType.CONTROLNET, _ENDING.sub("", wanted)
    )
    if file is None:
        file = _titled(library, field, wanted)
    if file is None:
        raise UnsupportedError(field, name, f"ControlNets of this server: {stock.some(names(library))}")
    fault = fault_of(library, file)
    if fault is not None:
        raise UnsupportedError(field, name, f"ControlNets that can be used; of this file: {fault}")
    return _network(file)


def _titled(library: Library, field: str, title: str) -> ModelFile | None:
    """The file with this title. Several may have its stem, in different folders or case; one with exactly
    this spelling comes first."""
    told = _TITLE.fullmatch(title)
    if told is None:
        return None
    stem, digest = told[1], told[2].lower()
    namesakes = [each for each in library.all(ModelType.CONTROLNET) if _goes_by(each, stem)]
    namesakes.sort(key=lambda each: each.stem != stem)
    found = next((each for each in namesakes if _is_hash_of(each, digest)), None)
    if found is None and namesakes:
        there = ", ".join(_network(each).title for each in namesakes)
        raise UnsupportedError(field, title, f"{there}, as no file of that name has another hash")
    return found


def _goes_by(file: ModelFile, name: str) -> bool:
    return name.lower() in (each.lower() for each in (file.stem, file.key, file.name))


def fault_of(library: Library, file: ModelFile) -> str | None:
    """Why the header of a ControlNet's file shows that it cannot be used."""
    return _seen(file).fault or library.faults.of(file.path, ModelType.CONTROLNET)


def title_of(file: ModelFile) -> str:
    """What lists, requests and infotext call a ControlNet's file."""
    return _network(file).title


def demand_family(field: str, network: Network, family: Family | None, checkpoint: str) -> None:
    """Refuses a ControlNet for another family than the checkpoint's. What their headers do not show is found
    out when it is loaded."""
    if network.family and family and network.family is not family:
        allowed = f"ControlNets for {family}, as the checkpoint {checkpoint} is of that family"
        raise UnsupportedError(field, f"{network.title}, which is for {network.family}", allowed)


def preferred(networks: Sequence[Network], family: Family | None) -> str:
    """Of those that go with a control type the one that is taken where a client names none: for this family,
    and of version 1.1 where there is one (sd-webui-controlnet's choice)."""
    fitting = [each for each in networks if not (family and each.family and each.family is not family)]
    newest = (each for each in fitting if "11" in each.title.partition("[")[0])
    return next(newest, fitting[0]).title if fitting else NONE


def _network(file: ModelFile) -> Network:
    return Network(f"{file.stem} [{_short_hash(file)}]", file.path, _seen(file).family)


def _is_hash_of(file: ModelFile, told: str) -> bool:
    return told == _short_hash(file) or (file.sha256 or "").startswith(told)


def _seen(file: ModelFile) -> _Seen:
    key = _key(file.path)
    return _look_into(file.path, key) if key else _Seen()


def _short_hash(file: ModelFile) -> str:
    key = _key(file.path)
    return _old_hash(file.path, key) if key else "NOFILE"


def _key(path: Path) -> FileKey | None:
    try:
        return key_of(path.stat())
    except OSError:
        return None


@lru_cache(maxsize=_KEPT)
def _look_into(path: Path, _key: FileKey) -> _Seen:
    """Nothing is seen of what is no readable safetensors file; that one is told of by `Library.faults`."""
    try:
        head = header.read(path)
    except (OSError, header.HeaderError):
        return _Seen()
    told = describe.describe(head)
    if told.variant == controlnet.CONTROLNET:
        peculiarity = controlnet.peculiarity(head)
        fault = f"it is of the kind {peculiarity!r}" if peculiarity else controlnet.fault(head)
        return _Seen(told.family, fault)
    return _Seen(told.family, told.variant and f"it is of another kind ({told.variant})")


@lru_cache(maxsize=_KEPT)
def _old_hash(path: Path, _key: FileKey) -> str:
    try:
        with path.open("rb") as file:
            file.seek(_HASH_OFFSET)
            return hashlib.sha256(file.read(_HASH_BYTES)).hexdigest()[:_HASH_DIGITS]
    except OSError:
        return "NOFILE"
