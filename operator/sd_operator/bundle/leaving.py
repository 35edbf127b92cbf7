"""Which files left the spec and are still on the volume, and which of them may go. Pure.

A file is known by its place on the volume: two places of one name are two files here.
"""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from sd_operator import pods
from sd_operator.api.bundle import FileStatus, seconds
from sd_operator.api.bundle_status import MAX_LEAVING, LeavingFile
from sd_operator.api.conditions import timestamp
from sd_operator.bundle.observe import Observed
from sd_operator.bundle.verdict import Kept


def carried(observed: Observed, files: Iterable[FileStatus]) -> list[FileStatus]:
    """The same files; one whose place only its source knows keeps the place of its earlier version until the
    next is there."""
    bundle = observed.bundle
    unknown = {file.name for file in bundle.spec.files if bundle.place_of(file) is None}
    before = {status.name: status for status in bundle.status.files} if observed.same_volume else {}
    found = []
    for status in files:
        known = before.get(status.name)
        if status.path is None and status.name in unknown and known is not None:
            status = status.model_copy(update={"path": known.path, "sha256": known.sha256})
        found.append(status)
    return found


def leaving(observed: Observed, files: Iterable[FileStatus], kept: Kept | None) -> tuple[LeavingFile, ...]:
    """The files that left the spec; `files`: what is said of those in it; `kept`: what was found and removed
    on the volume since the status was written."""
    statuses, bundle = list(files), observed.bundle
    stay = {status.path for status in statuses} | {bundle.place_of(file) for file in bundle.spec.files}
    removed = set(kept.removed) if kept is not None else set()
    since = timestamp(observed.now)
    found: dict[str, LeavingFile] = {}
    if observed.same_volume:
        for known in bundle.status.leaving:
            found.setdefault(known.path, known)
        for status in bundle.status.files:
            if status.path and status.sha256:
                gone = LeavingFile(path=status.path, name=status.name, sha256=status.sha256, since=since)
                found.setdefault(status.path, gone)
    for stray in kept.strays if kept is not None else ():
        gone = LeavingFile(path=stray.path, name=stray.name, sha256=stray.sha256, since=since)
        found.setdefault(stray.path, gone)
    moved = {status.name for status in statuses if status.state == "Verified"}
    left = [each for path, each in sorted(found.items()) if path not in stay | removed]
    return tuple(
        each.model_copy(update={"used_by": _user(observed, each, moved)}) for each in left[:MAX_LEAVING]
    )


def removable(observed: Observed, gone: Iterable[LeavingFile]) -> list[LeavingFile]:
    """Those whose time is over and that nobody serves."""
    grace = datetime.timedelta(seconds=seconds(observed.bundle.spec.remove_after))
    return [
        each
        for each in gone
        if each.used_by is None
        and (since := pods.parse_time(each.since)) is not None
        and observed.now >= since + grace
    ]


def _user(observed: Observed, gone: LeavingFile, moved: set[str]) -> str | None:
    """An SDInstance that serves the file, or is told to and has no later version of it (`moved`)."""
    bundle = observed.bundle.metadata.name
    for instance in sorted(observed.neighbours, key=lambda each: str(each["metadata"]["name"])):
        wanted = _at(instance, "spec", "checkpoint")
        held = _at(instance, "status", "models", "checkpoint")
        told = wanted.get("bundle") == bundle and wanted.get("file") == gone.name and gone.name not in moved
        serves = bool(gone.sha256) and held.get("sha256") == gone.sha256
        unknown = not gone.sha256 and held.get("file") == f"{bundle}/{gone.name}"
        if told or serves or unknown:
            return str(instance["metadata"]["name"])
    return None


def _at(value: Any, *path: str) -> Mapping[str, Any]:
    """What is there in an object that somebody may have stored in any form."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
