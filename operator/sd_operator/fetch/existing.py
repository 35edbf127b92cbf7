"""What already lies where a file should go: it is the wanted file, it may be replaced, or it is in the way.

Nothing is overwritten that a fetch of the same file did not put there.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sd_modelfiles import manifest, place
from sd_modelfiles.describe import Description
from sd_modelfiles.manifest import Entry, Manifest
from sd_operator.fetch import errors, formats, hashing, listing, partial, sources
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.hashing import Hashed
from sd_operator.fetch.listing import Found
from sd_operator.fetch.notes import Notes
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.request import FormatPolicy
from sd_operator.fetch.sources import location
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Verified

log = logging.getLogger(__name__)


def before_fetch(errand: Errand) -> Verified | None:
    """The verdict on a file that is whole already. What an earlier fetch left half done is settled here."""
    found = in_place(errand, likely_paths(errand), promise=errand.file.sha256)
    if found is None:
        give_up_sealed(errand.root, errand.key, errand.stop)
    return found


def in_place(errand: Errand, paths: Iterable[str], *, promise: str | None) -> Verified | None:
    """The verdict on a file that is whole already at one of these paths; None when it must be fetched."""
    for path in paths:
        # One that others replace between its hash and the manifest's lock is looked at again.
        while (hashed := _wanted_at(errand, path, promise)) is not None:
            verified = _adopt(errand, path, hashed)
            if verified is not None:
                return verified
    return None


def _wanted_at(errand: Errand, path: str, promise: str | None) -> Hashed | None:
    """The file at the path, if it is the wanted one."""
    target, entry = errand.root / path, manifest.load(errand.root).at(path)
    expected = _expected(errand, entry, promise)
    if not expected or not target.is_file():
        return None
    errand.progress.phase = Phase.VERIFYING
    try:
        hashed = hashing.hashed(target, errand.stop)
    except FileNotFoundError:
        return None
    if hashed.sha256 in expected:
        return hashed
    if entry is not None and entry.sha256 in expected:
        log.warning(
            "%s is damaged: its sha256 is %s, it was fetched with %s", target, hashed.sha256, entry.sha256
        )
    return None


def likely_paths(errand: Errand) -> list[str]:
    """Where the file may be, before its source was asked for its name."""
    file, found = errand.file, []
    if file.file_name is not None:
        found.append(str(place.path_of(file.type, file.file_name)))
    folder = place.folder_of(file.type)
    notes = partial.notes_of(errand.root, errand.key)
    sealed = notes.path if notes is not None and notes.sha256 is not None else ""
    if file.file_name is None and sealed and PurePosixPath(sealed).parent == folder:
        found.append(sealed)
    for entry in manifest.load(errand.root).files:
        is_here = PurePosixPath(entry.path).parent == folder and errand.owner in entry.owners
        if file.file_name is None and is_here:
            found.append(entry.path)
    return list(dict.fromkeys(found))


def check_path(listed: Manifest, path: str, errand: Errand, *, sha256: str | None) -> None:
    """Raise PathConflict if something lies at the path that the wanted file must not replace.

    Without a sha256 the bytes are not known yet: a file of others may turn out to be the same one.
    """
    file, entry = errand.file, listed.at(path)
    if not os.path.lexists(errand.root / path):
        # What is listed is lost: nobody has anything there.
        return
    if entry is None:
        raise FetchError(
            errors.PATH_CONFLICT,
            f"{path} exists on the volume and was not fetched by a bundle; remove it, "
            f"give file {file.name} another fileName, or give its sha256 if it is the wanted file",
        )
    if sha256 is not None and sha256 not in (entry.sha256, entry.source_sha256):
        _check_owners(entry, errand)


def check_size(listed: Manifest, path: str, errand: Errand, *, size: int) -> None:
    """The same for a file of which the size alone is known."""
    entry = listed.at(path)
    if entry is not None and size != entry.size and os.path.lexists(errand.root / path):
        _check_owners(entry, errand)


def _check_owners(entry: Entry, errand: Errand) -> None:
    """An earlier state of the same file may be replaced, and what nobody owns any more."""
    others = [
        owner for owner in entry.owners if owner != errand.owner and not listing.gives_way(owner, errand)
    ]
    if others:
        raise FetchError(
            errors.PATH_CONFLICT,
            f"{entry.path} already holds another file, fetched as {', '.join(others)} from {entry.source}; "
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


def _adopt(errand: Errand, path: str, hashed: Hashed) -> Verified | None:
    """Take the file in place for the wanted one; None if it was replaced since it was hashed."""
    target = errand.root / path
    try:
        description = formats.description_of(target, errand)
    except (FetchError, FileNotFoundError):
        if hashed.is_still(target):
            raise
        return None
    with listing.locked(errand.root, errand.stop):
        if not hashed.is_still(target):
            log.info("%s was replaced while it was looked at", target)
            return None
        log.info("%s is whole already", target)
        verified = listing.record(errand, path, _found(errand, path, hashed.sha256, description))
    partial.forget(errand.root, errand.key)
    return verified


def _found(errand: Errand, path: str, digest: str, description: Description) -> Found:
    """What is known of a file in place; what the manifest does not know of its origin, the notes may know."""
    entry = manifest.load(errand.root).at(path)
    notes = partial.notes_of(errand.root, errand.key)
    # Where somebody else put it there, this is what it is the same as.
    found = Found(sha256=digest, description=description, source=sources.identity(errand.request.sources[0]))
    sealed = notes is not None and notes.sha256 == digest
    if entry is not None and entry.sha256 == digest:
        found = replace(found, source=entry.source, source_sha256=entry.source_sha256)
    elif notes is not None and sealed and notes.identity:
        origin = location.recorded(notes.identity, notes.version)
        found = replace(found, source=origin, source_sha256=notes.source_sha256)
    if notes is not None and sealed and notes.path == path:
        beside = tuple(each for each in notes.companions if (errand.root / each).is_file())
        found = replace(found, companions=beside)
    return found


def give_up_sealed(root: Path, key: str, stop: Stop) -> None:
    """Remove what a fetch put in place and died before it wrote that down: it would be in the way."""
    notes = partial.notes_of(root, key)
    if notes is None or notes.sha256 is None or not notes.path:
        return
    target = root / notes.path
    if manifest.load(root).at(notes.path) is not None or not target.is_file():
        return
    hashed = hashing.hashed(target, stop)
    if hashed.sha256 != notes.sha256:
        return
    with listing.locked(root, stop):
        listed = manifest.load(root)
        if listed.at(notes.path) is not None or not hashed.is_still(target):
            return
        log.info("removing %s, which an interrupted fetch left", target)
        others = {path for entry in listed.files for path in (entry.path, *entry.companions)}
        for path in {notes.path, *notes.companions} - others:
            (root / path).unlink(missing_ok=True)
