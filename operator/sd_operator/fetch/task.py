"""The story of a fetch: is the file there already; download it; verify it; put it in place; write it down."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import httpx

from sd_modelfiles import header as headers
from sd_modelfiles import manifest, place
from sd_modelfiles.family import Family
from sd_modelfiles.manifest import Entry
from sd_operator.fetch import errors, existing, gate, partial
from sd_operator.fetch import request as requests
from sd_operator.fetch.download import Download
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.gate import Gate
from sd_operator.fetch.partial import Notes, Partial
from sd_operator.fetch.patience import Patience, persist
from sd_operator.fetch.request import Request
from sd_operator.fetch.sources import Location, location
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Verified

# After these the bytes in hand are of no use to any later fetch of the same source.
_USELESS = {errors.FORMAT_REFUSED, errors.TYPE_MISMATCH, errors.HASH_MISMATCH, errors.PATH_CONFLICT}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    request: Request
    source: Location
    root: Path
    stop: Stop

    @property
    def path(self) -> str:
        """Where the file goes, relative to the root of the volume."""
        file = self.request.file
        return str(place.path_of(file.type, requests.file_name(file, self.source.file_name)))


def run(task: Task, *, client: httpx.Client, patience: Patience) -> Verified:
    """Fetch the file of the task, or find it whole in place; raises FetchError."""
    name = task.request.file.name
    log.info("file %s: %s to %s", name, task.source.identity, task.path)
    try:
        with partial.locked(task.root, name, task.stop):
            return _in_place(task) or _fetched(task, client, patience)
    except manifest.ManifestError as error:
        raise FetchError(
            errors.VOLUME_ERROR, f"{error}; repair it, or remove it to have every file fetched again"
        ) from error
    except OSError as error:
        raise errors.of_volume(error) from error


def _in_place(task: Task) -> Verified | None:
    """The verdict on a file that is already whole on the volume; None when it must be fetched."""
    file, target = task.request.file, task.root / task.path
    if not target.exists():
        return None
    entry = manifest.load(task.root).at(task.path)
    notes = partial.load_notes(task.root, file.name)
    expected = existing.expected_hashes(file, task.source.identity, entry, notes)
    if expected:
        digest = _digest(target, task.stop)
        if digest in expected:
            return _adopt(task, digest, entry, notes)
        if entry is not None and entry.sha256 in expected:
            log.warning(
                "%s is damaged: its sha256 is %s, it was fetched with %s", target, digest, entry.sha256
            )
    existing.check_replaceable(file, task.path, entry)
    return None


def _adopt(task: Task, digest: str, entry: Entry | None, notes: Notes | None) -> Verified:
    target = task.root / task.path
    try:
        header = headers.read(target, limit=gate.MAX_HEADER_BYTES)
    except headers.HeaderError as error:
        raise FetchError(errors.FORMAT_REFUSED, f"the file is not valid safetensors: {error}") from error
    family = gate.accepted_family(header, task.request.file.type, task.request.family)
    log.info("%s is whole already", target)
    if entry is not None:
        origin = entry.source
    else:
        origin = location.recorded(task.source.identity, notes.version if notes is not None else None)
    with manifest.locked(task.root):
        found = _record(task, digest, family, origin)
    Partial.forget(task.root, task.request.file.name)
    return found


def _fetched(task: Task, client: httpx.Client, patience: Patience) -> Verified:
    file, identity = task.request.file, task.source.identity
    with Partial(task.root, file.name, identity) as bytes_so_far:
        download = Download(
            client=client,
            location=task.source,
            partial=bytes_so_far,
            new_gate=lambda: Gate(wanted_type=file.type, wanted_family=task.request.family),
            folder=task.root,
            stop=task.stop,
        )
        try:
            with task.stop.interruptible():
                download.take_up()
                persist(download.attempt, progress=download.progress, patience=patience)
            _check_hash(task, bytes_so_far.sha256())
            return _put_in_place(task, bytes_so_far, download.family())
        except FetchError as error:
            if error.reason in _USELESS:
                Partial.forget(task.root, file.name)
            elif error.reason == errors.INTERRUPTED:
                bytes_so_far.sync()
            raise


def _put_in_place(task: Task, whole: Partial, family: Family) -> Verified:
    target = task.root / task.path
    origin = location.recorded(task.source.identity, whole.notes.version)
    with manifest.locked(task.root):
        # Looked at again: another file of the bundle may have taken the path meanwhile.
        if target.exists():
            existing.check_replaceable(task.request.file, task.path, manifest.load(task.root).at(task.path))
        whole.move_to(target)
        found = _record(task, whole.sha256(), family, origin)
    Partial.forget(task.root, task.request.file.name)
    return found


def _record(task: Task, digest: str, family: Family, origin: str) -> Verified:
    """Write the file in place into the manifest. The caller holds the manifest's lock."""
    file = task.request.file
    size = (task.root / task.path).stat().st_size
    entry = Entry(
        path=task.path,
        size=size,
        sha256=digest,
        type=file.type,
        family=family,
        source=origin,
        name=file.name,
    )
    listed = manifest.load(task.root)
    if listed.at(task.path) != entry:
        manifest.save(task.root, listed.with_entry(entry))
    return Verified(path=task.path, size=size, sha256=digest, family=family)


def _check_hash(task: Task, digest: str) -> None:
    wanted = task.request.file.sha256
    if wanted is not None and digest != wanted:
        raise FetchError(
            errors.HASH_MISMATCH,
            f"the sha256 of the file is {digest}, file.sha256 is {wanted}; "
            f"correct it, or the source, if {task.source.identity} is not the wanted file",
        )


def _digest(path: Path, stop: Stop) -> str:
    digest = hashlib.sha256()
    with stop.interruptible(), path.open("rb") as file:
        while chunk := file.read(partial.CHUNK_BYTES):
            stop.check()
            digest.update(chunk)
    return digest.hexdigest()
