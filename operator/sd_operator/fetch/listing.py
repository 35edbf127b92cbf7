"""A file in place, written into the manifest of its volume."""

from dataclasses import dataclass, replace
from pathlib import Path

from sd_modelfiles import manifest
from sd_modelfiles.describe import Description
from sd_modelfiles.manifest import Entry, Manifest
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.verdict import Verified


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
            entry = replace(entry, owners=tuple(sorted({*before.owners, errand.owner})))
    if before != entry:
        manifest.save(errand.root, listed.with_entry(entry))
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


def _is_shared(errand: Errand, listed: Manifest, entry: Entry) -> bool:
    """Whether another file of a bundle is this one, here or at another path."""
    if len(entry.owners) > 1:
        return True
    mine = errand.root / entry.path
    others = (errand.root / twin.path for twin in listed.with_sha256(entry.sha256) if twin.path != entry.path)
    return any(other.exists() and other.samefile(mine) for other in others)
