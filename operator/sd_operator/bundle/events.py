"""The story of a bundle's files, told in Events: of transitions only. Pure."""

from collections.abc import Iterator

from sd_operator.api.bundle import FileStatus, ModelBundle
from sd_operator.api.bundle_status import LeavingFile
from sd_operator.applying import Story
from sd_operator.bundle.progress import readable
from sd_operator.bundle.status import Outcome


def of_files(bundle: ModelBundle, outcome: Outcome) -> Iterator[Story]:
    """What happened to the files since the stored status."""
    before = {status.name: status for status in bundle.status.files}
    for status in outcome.files:
        story = _of_file(before.get(status.name), status)
        if story is not None:
            yield story
    stored = {each.path: each for each in bundle.status.leaving}
    now = {each.path: each for each in outcome.leaving}
    for path in sorted(now.keys() - stored.keys()):
        yield Story("FileLeft", _words(now[path], "left the spec; it is removed after spec.removeAfter"))
    for path in sorted(stored.keys() & set(outcome.removed)):
        yield Story("FileRemoved", _words(stored[path], "was removed from the volume"))


def _of_file(before: FileStatus | None, status: FileStatus) -> Story | None:
    was, name = before.state if before is not None else "Pending", f"spec.files[{status.name}]"
    if status.state == "Verified" and (was != "Verified" or _digest(before) != status.sha256):
        origin = f" from {status.source}" if status.source else ""
        return Story(
            "FileVerified",
            f"{name}: {readable(status.size or 0)}{origin}, sha256 {status.sha256}, at {status.path}",
        )
    if status.state == "Failed" and (was != "Failed" or _told(before) != (status.reason, status.failures)):
        return Story("FileFailed", f"{name}: {status.reason}: {status.message}", warning=True)
    if was == "Verified" and status.reason in ("Lost", "Altered"):
        return Story(f"File{status.reason}", f"{name}: {status.message}", warning=True)
    if status.state == "Fetching" and was in ("Pending", "Failed") and status.reason is None:
        return Story("FetchStarted", f"{name}: being fetched by Job {status.job}")
    return None


def _digest(status: FileStatus | None) -> str | None:
    return status.sha256 if status is not None else None


def _told(status: FileStatus | None) -> tuple[str | None, int | None]:
    return (status.reason, status.failures) if status is not None else (None, None)


def _words(gone: LeavingFile, rest: str) -> str:
    return f"{gone.path} (file {gone.name}) {rest}"
