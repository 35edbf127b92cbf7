"""The table of a fetch's costs beside its alternatives. Pure, but for what it says of the machine."""

import datetime
import os
import platform
import statistics
import subprocess
from typing import TYPE_CHECKING

from benchmarks.rig.processes import ROOT

if TYPE_CHECKING:
    from benchmarks.fetch import Figures

GIB = 1024**3
#: The design's targets: throughput beside the better of the others, and peak memory in MB.
LEAST_RATIO, MOST_MEMORY = 0.9, 100

FETCH, CURL, HUB = "sd_operator.fetch", "curl; sync; sha256sum", "huggingface_hub"
#: What each makes sure of.
DOES = {
    FETCH: "header judged first, sha256, durable, renamed into place",
    CURL: "sha256, durable",
    HUB: "size",
}


def render(figures: "Figures") -> str:
    """Markdown."""
    better = min((name for name in figures.costs if name != FETCH), key=figures.seconds, default=FETCH)
    return "\n".join(
        [
            f"# Fetching {figures.size / GIB:.1f} GiB from loopback",
            "",
            _provenance(),
            "",
            "| what | seconds (median; all) | MiB/s | beside the better of the others | peak RSS "
            "| processor s/GiB | makes sure of |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(_row(figures, name, better) for name in figures.costs),
            "",
            *_resume(figures),
            "",
            f"Targets: at least {LEAST_RATIO} of the better of the others; at most {MOST_MEMORY} MB; "
            "a resumed fetch downloads less than one chunk (16 MiB) again.",
        ]
    )


def _row(figures: "Figures", name: str, better: str) -> str:
    costs = figures.costs[name]
    seconds = figures.seconds(name)
    gib = figures.size / GIB
    cells = [
        name,
        f"{seconds:.1f} ({', '.join(f'{cost.seconds:.1f}' for cost in costs)})",
        f"{figures.size / 1024**2 / seconds:.0f}",
        f"{figures.seconds(better) / seconds:.2f}x",
        f"{max(cost.peak_mib for cost in costs):.0f} MiB",
        f"{statistics.median(cost.cpu_seconds for cost in costs) / gib:.2f}",
        DOES[name],
    ]
    return f"| {' | '.join(cells)} |"


def _resume(figures: "Figures") -> list[str]:
    """What a kill -9 half-way costs."""
    if not figures.resumes:
        return []
    extra = statistics.median(each.seconds for each in figures.resumes) - figures.seconds(FETCH)
    kills = ", ".join(f"{100 * each.killed_at / figures.size:.0f} %" for each in figures.resumes)
    twice = ", ".join(f"{each.twice / 1024**2:.2f} MiB" for each in figures.resumes)
    return [
        f"Killed (SIGKILL) at {kills} and started again: {extra:+.1f} s in the median, downloaded twice: "
        f"{twice} (bytes that reached the machine, those in the sockets of the killed process included)."
    ]


def _provenance() -> str:
    """Of which commit the fetcher is, when it ran, on what."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", "operator", "modelfiles")
    changed = " with uncommitted changes" if changes else ""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    cores = f"{os.cpu_count()} cores ({platform.machine()}), shared with the server"
    return f"Fetcher of commit {commit}{changed}, {today}, {cores}."


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()
