"""What is noted of a download beside its bytes: whose they are, and which of them a crash of the node spares.

`.sd-operator/partial/<key>.json`. Replaced by rename, so that what is read is always one state of it.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sd_modelfiles import manifest, place
from sd_modelfiles.kinds import ModelType
from sd_operator.fetch.journal import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Everything has a value that says nothing."""

    owner: str = ""  # "<bundle>/<file>"
    identity: str = ""  # of the source
    etag: str | None = None  # strong; None means that the bytes cannot be gone on with
    version: str | None = None  # what the source's moving revision stood for
    total: int | None = None  # the size of the file, when it is known
    promise: str | None = None  # the sha256 that the bytes will have
    mixed: bool = False  # some came from another source with the same promise
    synced: tuple[Span, ...] = ()  # known to be on the disk, whatever happens to the node
    boot_id: str = ""  # of the node that wrote the others
    # Set when the file is whole and verified, just before it is put in place.
    sha256: str | None = None
    source_sha256: str = ""  # of the bytes it was converted from
    path: str = ""  # where it goes, relative to the root of the volume
    companions: tuple[str, ...] = ()  # and what is put beside it


def load(path: Path) -> Notes | None:
    """The notes of an earlier process; None when there are none that can be understood."""
    try:
        document = json.loads(path.read_bytes())
        return _understood(document)
    except FileNotFoundError:
        return None
    # Notes cut by a crash, or of another version: only a download's beginning is lost with them.
    except (ValueError, TypeError, RecursionError):
        return None


def save(path: Path, notes: Notes, *, durably: bool) -> None:
    """Replace the notes. Durably: before anything that is done next, also if the node crashes."""
    write(path, json.dumps(asdict(notes)).encode(), durably=durably)


def write(path: Path, content: bytes, *, durably: bool) -> None:
    """Replace a small file by rename."""
    temporary = path.with_name(f"{path.name}.new")
    # A link that somebody left there must not lead the bytes elsewhere.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
        file.write(content)
        if durably:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durably:
        manifest.sync_folder(path.parent)


_TYPES: dict[str, type | tuple[type, ...]] = {
    "owner": str,
    "identity": str,
    "etag": (str, type(None)),
    "version": (str, type(None)),
    "total": (int, type(None)),
    "promise": (str, type(None)),
    "mixed": bool,
    "synced": list,
    "boot_id": str,
    "sha256": (str, type(None)),
    "source_sha256": str,
    "path": str,
    "companions": list,
}


def _understood(document: Any) -> Notes:
    if not isinstance(document, dict):
        raise TypeError("document")
    for name, value in document.items():
        if not isinstance(value, _TYPES.get(name, ())):
            raise TypeError(name)
    spans = tuple(Span(int(start), int(end)) for start, end in document.pop("synced", []))
    if any(not 0 <= span.start < span.end for span in spans):
        raise ValueError("synced")
    companions = tuple(str(path) for path in document.pop("companions", []))
    # They may be removed by these names.
    if not all(_is_of_models(path) for path in (document.get("path", ""), *companions) if path):
        raise ValueError("path")
    return Notes(**document, synced=spans, companions=companions)


def _is_of_models(path: str) -> bool:
    """Whether a path is one of a file right in the folder of a type."""
    parts = PurePosixPath(path)
    return ".." not in parts.parts and parts.parent in [place.folder_of(each) for each in ModelType]
