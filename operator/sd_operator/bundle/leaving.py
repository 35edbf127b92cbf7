"""Which files left the spec and are still on the volume, and which of them may go. Pure."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from sd_operator import pods
from sd_operator.api.bundle import FileStatus, seconds
from sd_operator.api.bundle_status import MAX_LEAVING, LeavingFile
from sd_operator.api.conditions import timestamp
from sd_operator.bundle.observe import Observed
from sd_operator.bundle.verdict import Kept


def leaving(observed: Observed, files: Iterable[FileStatus], kept: Kept | None) -> tuple[LeavingFile, ...]:
    """The files that left the spec; `files`: what is said of those in it; `kept`: what was found and removed
    on the volume since the status was written."""
    bundle = observed.bundle
    stay = {status.path for status in files} | {bundle.place_of(file) for file in bundle.spec.files}
    removed = set(kept.removed) if kept is not None else set()
    since = timestamp(observed.now)
    found: dict[str, LeavingFile] = {}
    if observed.same_volume:
        for known in bundle.status.leaving:
            found.setdefault(known.path, known)
        for status in bundle.status.files:
            if status.state == "Verified" and status.path and status.sha256:
                gone = LeavingFile(path=status.path, name=status.name, sha256=status.sha256, since=since)
                found.setdefault(status.path, gone)
    for stray in kept.strays if kept is not None else ():
        gone = LeavingFile(path=stray.path, name=stray.name, sha256=stray.sha256, since=since)
        found.setdefault(stray.path, gone)
    left = [each for path, each in sorted(found.items()) if path not in stay and each.name not in removed]
    return tuple(
        each.model_copy(update={"used_by": _user(each, observed.instances, bundle.metadata.name)})
        for each in left[:MAX_LEAVING]
    )


def removable(observed: Observed, gone: Iterable[LeavingFile]) -> list[LeavingFile]:
    """Those whose time is over and that nobody serves. They are removed by their names: of two places that
    a file has left, none goes before both may."""
    grace = datetime.timedelta(seconds=seconds(observed.bundle.spec.remove_after))
    every = list(gone)
    stay = {
        each.name
        for each in every
        if each.used_by is not None
        or (since := pods.parse_time(each.since)) is None
        or observed.now < since + grace
    }
    return [each for each in every if each.name not in stay]


def _user(gone: LeavingFile, instances: Iterable[Mapping[str, Any]], bundle: str) -> str | None:
    """An SDInstance that serves the file, or is told to."""
    for instance in sorted(instances, key=lambda each: str(each["metadata"]["name"])):
        wanted = _at(instance, "spec", "checkpoint")
        held = _at(instance, "status", "models", "checkpoint")
        named = wanted.get("bundle") == bundle and wanted.get("file") == gone.name
        if named or (gone.sha256 and held.get("sha256") == gone.sha256):
            return str(instance["metadata"]["name"])
    return None


def _at(value: Any, *path: str) -> Mapping[str, Any]:
    """What is there in an object that somebody may have stored in any form."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
