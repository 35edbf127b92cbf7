"""A whole and verified file is put in place: by one rename, and then written down.

Under the manifest's lock, so that two files that want one path see each other. Nothing slow happens there.
"""

import os
from dataclasses import replace
from pathlib import Path

from sd_modelfiles import manifest
from sd_operator.fetch import companions, existing, listing, partial, sharing
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.listing import Found, Whole
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.sources import Location
from sd_operator.fetch.verdict import Verified


def put(errand: Errand, path: str, whole: Whole, *, kept: Partial, location: Location) -> Verified:
    """Put the file of a partial download in place, or another name of the same bytes."""
    errand.progress.phase = Phase.PLACING
    twin = sharing.twin_of(errand, whole.found.sha256, besides=path)
    brought = companions.gather(errand, location)
    if whole.bytes_at == kept.path:
        kept.sync()
    else:
        _make_durable(whole.bytes_at)
    with manifest.locked(errand.root):
        existing.check_path(manifest.load(errand.root), path, errand, sha256=whole.found.sha256)
        kept.seal(sha256=whole.found.sha256, source_sha256=whole.found.source_sha256)
        link = sharing.linked(errand.root, errand.key, errand.root / twin.path) if twin is not None else None
        verified = _place(errand, path, link or whole.bytes_at, whole.found, brought)
    partial.forget(errand.root, errand.key)
    return verified


def link(errand: Errand, path: str, found: Found, twin: Path, *, location: Location) -> Verified | None:
    """Give bytes that the volume has already another name; None where that cannot be done."""
    errand.progress.phase = Phase.PLACING
    brought = companions.gather(errand, location)
    with manifest.locked(errand.root):
        existing.check_path(manifest.load(errand.root), path, errand, sha256=found.sha256)
        link = sharing.linked(errand.root, errand.key, twin)
        verified = _place(errand, path, link, found, brought) if link is not None else None
    if verified is not None:
        partial.forget(errand.root, errand.key)
    return verified


def _place(
    errand: Errand, path: str, source: Path, found: Found, brought: list[companions.Brought]
) -> Verified:
    target = errand.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    sharing.replace(source, target)
    manifest.sync_folder(target.parent)
    names = companions.write(errand, path, brought)
    return listing.record(errand, path, replace(found, companions=names))


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
