"""What already lies where a file should go: it is the wanted file, it may be replaced, or it is in the way.

Nothing is overwritten that a fetch of the same file did not put there.
"""

from sd_modelfiles.manifest import Entry
from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.partial import Notes
from sd_operator.fetch.request import File
from sd_operator.fetch.sources import location


def expected_hashes(file: File, identity: str, entry: Entry | None, notes: Notes | None) -> frozenset[str]:
    """The sha256 values any of which makes the file in place the wanted one; empty when nothing can tell."""
    if file.sha256 is not None:
        return frozenset({file.sha256})
    found = set()
    if entry is not None and location.is_recorded(identity, entry.source):
        found.add(entry.sha256)
    # A fetch that died between the rename and the manifest.
    if notes is not None and notes.identity == identity and notes.sha256 is not None:
        found.add(notes.sha256)
    return frozenset(found)


def check_replaceable(file: File, path: str, entry: Entry | None) -> None:
    """Raise PathConflict unless the file in place, which is not the wanted one, is an earlier state of it."""
    if entry is None:
        raise FetchError(
            errors.PATH_CONFLICT,
            f"{path} exists on the volume and was not fetched by a bundle; remove it, "
            f"give file {file.name} another fileName, or give its sha256 if it is the wanted file",
        )
    if entry.name != file.name:
        raise FetchError(
            errors.PATH_CONFLICT,
            f"{path} already holds another file, fetched as {entry.name} from {entry.source}; "
            f"give file {file.name} another fileName",
        )
