"""A whole and verified file is put in place: by one rename, and then written down.

Under the manifest's lock, so that two files that want one path see each other. Nothing slow happens there.
"""

import os
from dataclasses import replace
from pathlib import Path

from sd_modelfiles import manifest
from sd_operator.fetch import companions, existing, formats, listing, partial, sharing
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.listing import Found, Whole
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.sources import Location, location
from sd_operator.fetch.verdict import Verified


def put(errand: Errand, path: str, whole: Whole, *, kept: Partial, found_at: Location) -> Verified:
    """Put the file of a partial download in place, or another name of the same bytes."""
    errand.progress.phase = Phase.PLACING
    if whole.bytes_at == kept.path:
        kept.sync()
    else:
        _make_durable(whole.bytes_at)
    with sharing.twin_of(errand, whole.found.sha256, besides=path) as twin:
        is_same = twin is not None and twin.entry.sha256 == whole.found.sha256
        source = twin.name if twin is not None and is_same else whole.bytes_at
        return _place(errand, path, source, whole.found, kept=kept, found_at=found_at)


def link(
    errand: Errand, path: str, promise: str | None, *, kept: Partial, found_at: Location
) -> Verified | None:
    """Give bytes that the volume has already another name; None where that cannot be done."""
    with sharing.twin_of(errand, promise, besides=path) as twin:
        if twin is None:
            return None
        errand.progress.phase = Phase.PLACING
        found = Found(
            sha256=twin.entry.sha256,
            description=formats.description_of(twin.name, errand),
            source=location.recorded(found_at.identity, found_at.version),
            source_sha256=twin.entry.source_sha256,
        )
        return _place(errand, path, twin.name, found, kept=kept, found_at=found_at)


def _place(
    errand: Errand, path: str, source: Path, found: Found, *, kept: Partial, found_at: Location
) -> Verified:
    target, brought = errand.root / path, companions.gather(errand, found_at)
    with listing.locked(errand.root, errand.stop):
        existing.check_path(manifest.load(errand.root), path, errand, sha256=found.sha256)
        kept.seal(
            sha256=found.sha256,
            source_sha256=found.source_sha256,
            path=path,
            companions=tuple(companions.places(errand, path, brought)),
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        sharing.replace(source, target)
        manifest.sync_folder(target.parent)
        names = companions.write(errand, path, brought)
        verified = listing.record(errand, path, replace(found, companions=names))
    partial.forget(errand.root, errand.key)
    return verified


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
