"""The manifest of a volume as fetches and upkeep write it, one file in place after the other.

A copy of its last state lies beside it, for whoever has to mend it.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sd_modelfiles import manifest
from sd_modelfiles.describe import Description
from sd_modelfiles.manifest import Entry, Manifest
from sd_operator.fetch import errors, notes
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Verified

# Whoever holds the lock renames and writes a few small files; longer means that its node or storage hangs.
_LOCK_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a whole file."""

    sha256: str
    description: Description
    source: str  # as it is recorded
    source_sha256: str = ""  # of the bytes it was converted from
    companions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """A verified file that is not in place yet."""

    bytes_at: Path
    found: Found


@contextmanager
def volume_faults() -> Iterator[None]:
    """Tell errors of the volume and of its manifest as those of a fetch."""
    try:
        yield
    except manifest.ManifestError as error:
        raise FetchError(
            errors.VOLUME_ERROR,
            f"{error}; if a later version of the operator wrote it, update the operator; if it is damaged, "
            "put manifest.json.bak, the copy beside it, in its place, or remove it and every file that "
            "bundles have fetched to the volume",
        ) from error
    except OSError as error:
        raise errors.of_volume(error) from error


@contextmanager
def locked(root: Path, stop: Stop, *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of the manifest's writers; a stop ends the waiting, and so does time."""
    end = time.monotonic() + seconds

    def waiting() -> None:
        if time.monotonic() >= end:
            raise FetchError(
                errors.VOLUME_UNREACHABLE,
                f"another process has held the lock of the volume's manifest for {seconds:.0f} s",
                retryable=True,
            )
        stop.sleep(_LOCK_POLL_SECONDS)

    with manifest.locked(root, waiting=waiting):
        yield


def save(root: Path, listed: Manifest) -> None:
    """Replace the manifest. The caller holds its lock."""
    manifest.save(root, listed)
    path = manifest.path_in(root)
    try:
        notes.write(path.with_suffix(".json.bak"), path.read_bytes(), durably=True)
    except OSError as error:
        log.warning("the copy of the manifest could not be written: %s", error)


def record(errand: Errand, path: str, found: Found) -> Verified:
    """Write the file at the path into the manifest. The caller holds the manifest's lock."""
    listed = manifest.load(errand.root)
    before = listed.at(path)
    entry = Entry(
        path=path,
        size=(errand.root / path).stat().st_size,
        sha256=found.sha256,
        type=errand.file.type,
        family=found.description.family or "",
        source=found.source,
        rank=found.description.rank,
        source_sha256=found.source_sha256,
        owners=(errand.owner,),
        companions=found.companions,
    )
    if before is not None:
        companions = dict.fromkeys((*before.companions, *found.companions))
        entry = replace(entry, companions=tuple(companions))
        if before.sha256 == found.sha256:
            entry = _joined(errand, before, entry)
    if before != entry:
        save(errand.root, listed.with_entry(entry))
    return Verified(
        path=path,
        size=entry.size,
        sha256=entry.sha256,
        type=entry.type,
        family=entry.family or None,
        rank=entry.rank,
        source_sha256=entry.source_sha256 or None,
        source=entry.source,
        shared=_is_shared(errand, listed, entry),
    )


def gives_way(owner: str, errand: Errand) -> bool:
    """Whether an owner of the file's place has lost it: another file of a bundle that names its places.

    The operator lets no two files of a bundle have one place. What a source calls a file it does not know.
    """
    same = owner.rpartition("/")[0] == errand.request.bundle
    return same and owner != errand.owner and errand.file.file_name is not None


def _joined(errand: Errand, before: Entry, entry: Entry) -> Entry:
    """The entry of a file that is listed already: its owners are more, and nothing known of it is lost."""
    staying = (owner for owner in before.owners if not gives_way(owner, errand))
    return replace(
        entry,
        owners=tuple(sorted({*staying, errand.owner})),
        # The words of one owner may not be those of the other, and what the file shows is not shown to both.
        family=entry.family or before.family,
        rank=before.rank if entry.rank is None else entry.rank,
        source_sha256=entry.source_sha256 or before.source_sha256,
    )


def _is_shared(errand: Errand, listed: Manifest, entry: Entry) -> bool:
    """Whether another file of a bundle is this one, here or at another path."""
    if len(entry.owners) > 1:
        return True
    mine = errand.root / entry.path
    others = (errand.root / twin.path for twin in listed.with_sha256(entry.sha256) if twin.path != entry.path)
    return any(other.exists() and other.samefile(mine) for other in others)
