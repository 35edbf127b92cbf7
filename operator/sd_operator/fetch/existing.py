"""What already lies where a file should go: it is the wanted file, it may be replaced, or it is in the way.

Nothing is overwritten that a fetch of the same file did not put there.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from sd_modelfiles import manifest, place
from sd_modelfiles.manifest import Entry, Manifest
from sd_operator.fetch import errors, formats, hashing, listing, partial, sources
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.listing import Found
from sd_operator.fetch.notes import Notes
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.request import FormatPolicy
from sd_operator.fetch.sources import location
from sd_operator.fetch.verdict import Verified

log = logging.getLogger(__name__)


def in_place(errand: Errand, paths: Iterable[str], *, promise: str | None) -> Verified | None:
    """The verdict on a file that is whole already at one of these paths; None when it must be fetched."""
    listed = manifest.load(errand.root)
    for path in paths:
        target, entry = errand.root / path, listed.at(path)
        if not target.is_file():
            continue
        expected = _expected(errand, entry, promise)
        if not expected:
            continue
        errand.progress.phase = Phase.VERIFYING
        digest = hashing.sha256_of(target, errand.stop)
        if digest in expected:
            return _adopt(errand, path, entry, digest)
        if entry is not None and entry.sha256 in expected:
            log.warning(
                "%s is damaged: its sha256 is %s, it was fetched with %s", target, digest, entry.sha256
            )
    return None


def likely_paths(errand: Errand) -> list[str]:
    """Where the file may be, before its source was asked for its name."""
    file, found = errand.file, []
    if file.file_name is not None:
        found.append(str(place.path_of(file.type, file.file_name)))
    folder = place.folder_of(file.type)
    for entry in manifest.load(errand.root).files:
        is_here = PurePosixPath(entry.path).parent == folder and errand.owner in entry.owners
        if file.file_name is None and is_here:
            found.append(entry.path)
    return found


def check_path(listed: Manifest, path: str, errand: Errand, *, sha256: str | None) -> None:
    """Raise PathConflict if something lies at the path that the wanted file must not replace.

    Without a sha256 the bytes are not known yet: a file of others may turn out to be the same one.
    """
    file, entry = errand.file, listed.at(path)
    if entry is None and (errand.root / path).exists():
        raise FetchError(
            errors.PATH_CONFLICT,
            f"{path} exists on the volume and was not fetched by a bundle; remove it, "
            f"give file {file.name} another fileName, or give its sha256 if it is the wanted file",
        )
    if entry is not None and sha256 is not None and sha256 not in (entry.sha256, entry.source_sha256):
        _check_owners(entry, errand)


def check_size(listed: Manifest, path: str, errand: Errand, *, size: int) -> None:
    """The same for a file of which the size alone is known."""
    entry = listed.at(path)
    if entry is not None and size != entry.size:
        _check_owners(entry, errand)


def _check_owners(entry: Entry, errand: Errand) -> None:
    """An earlier state of the same file may be replaced by another one, and nothing else."""
    others = [owner for owner in entry.owners if owner != errand.owner]
    if others or not entry.owners:
        whose = f"fetched as {', '.join(others)}" if others else "fetched"
        raise FetchError(
            errors.PATH_CONFLICT,
            f"{entry.path} already holds another file, {whose} from {entry.source}; "
            f"give file {errand.file.name} another fileName",
        )


def _expected(errand: Errand, entry: Entry | None, promise: str | None) -> frozenset[str]:
    """The sha256 values any of which makes the file in place the wanted one; empty when nothing can tell."""
    found = {promise} if promise is not None else set()
    if entry is not None and _is_wanted(entry, errand, promise):
        found.add(entry.sha256)
    # A fetch that died between the rename and the manifest.
    notes = partial.notes_of(errand.root, errand.key)
    if notes is not None and notes.sha256 is not None and _are_of(notes, errand):
        found.add(notes.sha256)
    return frozenset(found)


def _is_wanted(entry: Entry, errand: Errand, promise: str | None) -> bool:
    if promise is not None and is_of(entry, promise, errand.request.format_policy):
        return True
    # A bundle's own sha256 goes before what was fetched from the same source once.
    return errand.file.sha256 is None and any(
        location.is_recorded(sources.identity(source), entry.source) for source in errand.request.sources
    )


def _are_of(notes: Notes, errand: Errand) -> bool:
    """Whether the notes are those of a fetch of the wanted file."""
    wanted = errand.file.sha256
    if wanted is not None:
        return wanted in (notes.sha256, notes.source_sha256)
    return notes.identity in [sources.identity(source) for source in errand.request.sources]


def is_of(entry: Entry, sha256: str, policy: FormatPolicy) -> bool:
    """Whether a listed file is what these bytes are or, under this policy, become."""
    return entry.sha256 == sha256 or (policy is FormatPolicy.SCAN_PICKLE and entry.source_sha256 == sha256)


def _adopt(errand: Errand, path: str, entry: Entry | None, digest: str) -> Verified:
    """Take the file in place for the wanted one; what is not known of its origin, the notes may know."""
    target, notes = errand.root / path, partial.notes_of(errand.root, errand.key)
    found = Found(
        sha256=digest,
        description=formats.description_of(target, errand),
        # Where somebody else put it there, this is what it is the same as.
        source=sources.identity(errand.request.sources[0]),
    )
    if entry is not None and entry.sha256 == digest:
        found = replace(found, source=entry.source, source_sha256=entry.source_sha256)
    elif notes is not None and notes.sha256 == digest:
        origin = location.recorded(notes.identity, notes.version)
        found = replace(found, source=origin, source_sha256=notes.source_sha256)
    log.info("%s is whole already", target)
    with manifest.locked(errand.root):
        verified = listing.record(errand, path, found)
    partial.forget(errand.root, errand.key)
    return verified
