"""How far a bundle is, in numbers for people and programs. Pure."""

from collections.abc import Iterable, Mapping

from sd_operator.api.bundle import FileStatus
from sd_operator.api.bundle_status import ProgressStatus
from sd_operator.fetch_client import Progress

_UNITS = ("B", "Ki", "Mi", "Gi", "Ti")


def progress(files: Iterable[FileStatus], running: Mapping[str, Progress]) -> ProgressStatus:
    """By what is verified, and by what running fetches say (`running`, by the names of their Jobs)."""
    statuses = list(files)
    verified = [status for status in statuses if status.state == "Verified"]
    done = sum(status.size or 0 for status in verified)
    fetching = [
        running[status.job]
        for status in statuses
        if status.state != "Verified" and status.job is not None and status.job in running
    ]
    present = done + sum(each.bytes for each in fetching)
    sizes = [each.total_bytes for each in fetching]
    complete = len(verified) + len(fetching) == len(statuses) and None not in sizes
    total = done + sum(size or 0 for size in sizes) if complete else None
    rate = int(sum(each.bytes_per_second for each in fetching)) if fetching else None
    return ProgressStatus(
        files=f"{len(verified)}/{len(statuses)}",
        percent=_percent(present, total, len(verified), len(statuses)),
        size=readable(done),
        bytes=present,
        total_bytes=total,
        bytes_per_second=rate,
        eta_seconds=(total - present) // rate if total is not None and rate and total >= present else None,
    )


def _percent(present: int, total: int | None, verified: int, files: int) -> int:
    if verified == files:
        return 100
    share = present / total if total else verified / files
    # Whole only when every file is verified.
    return min(99, int(100 * share))


def readable(size: int) -> str:
    """A size as kubectl shows sizes: 4.0Gi."""
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{size}" if unit == "B" else f"{value:.1f}{unit}"
