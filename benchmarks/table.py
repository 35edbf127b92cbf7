"""The table of a scale run: what was measured, the design's targets, what others publish. Pure."""

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rig.processes import ROOT

if TYPE_CHECKING:
    from benchmarks.operator import Figures

#: What of a checkout is run and installed.
RUN = ("operator", "modelfiles", "crds")

#: seconds for so many instances, from the design
CREATE_TARGETS = {1000: "≤ 90 s", 5000: "≤ 540 s"}
CREATE_OTHERS = {
    1000: "KubeRay 1.1.1, 1,000 RayClusters: 258 s",
    5000: "KubeRay 1.1.1, 5,000 RayClusters: 1,213 s",
}


def render(figures: "Figures") -> str:
    """Markdown."""
    rows = _rows(figures)
    lines = [
        f"# {figures.count} instances on the local cluster",
        "",
        provenance(),
        "",
        "| what | measured | target | others |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "Writes: "
        + ", ".join(f"{name} {value:.0f}" for name, value in sorted(figures.writes.items()) if value),
        "",
        "Processor seconds while the instances were created: "
        + ", ".join(f"{name} {value:.1f}" for name, value in sorted(figures.parts_cpu.items())),
    ]
    return "\n".join(lines)


def _rows(figures: "Figures") -> list[tuple[str, str, str, str]]:
    count, seconds = figures.count, figures.create_seconds
    total = sum(figures.writes.values())
    changes = figures.change_seconds
    rows = [
        (
            "created to all Ready",
            f"{seconds:.1f} s ({count / seconds:.1f}/s)",
            CREATE_TARGETS.get(count, "-"),
            CREATE_OTHERS.get(count, "KubeVela, 3,000 apps: 2/s"),
        ),
    ]
    if figures.bare_seconds is not None:
        ratio = seconds / figures.bare_seconds
        rows += [
            ("bare script, the same child objects", f"{figures.bare_seconds:.1f} s", "-", "-"),
            ("operator / bare script", f"{ratio:.2f}×", "≤ 1.15×", "-"),
        ]
    return [
        *rows,
        ("operator's CPU per object", f"{1000 * figures.create_cpu / count:.1f} ms", "≤ 10 ms", "-"),
        ("API server's CPU per object", f"{1000 * figures.api_cpu / count:.1f} ms", "-", "-"),
        ("writes per object", f"{total / count:.2f}", "≤ 6", "-"),
        (
            "operator's memory: peak, at rest",
            f"{figures.peak_mib:.0f} MiB, {figures.steady_mib:.0f} MiB",
            "≤ 160 MB",
            "valkey-operator, 8,000 objects: 900-1,024 MiB",
        ),
        (
            f"change → Deployment seen changed, p50 ({len(changes)} of {figures.changes} seen)",
            f"{1000 * quantile(changes, 0.5):.0f} ms",
            "≤ 40 ms",
            "-",
        ),
        ("the same, p99", f"{1000 * quantile(changes, 0.99):.0f} ms", "≤ 250 ms", "KubeVela: < 800 ms"),
        ("restart to steady", f"{figures.restart_seconds:.1f} s", "≤ 20 s", "-"),
        ("writes after a restart", f"{figures.restart_writes:.0f}", "0", "-"),
        ("peak memory after a restart", f"{figures.restart_peak_mib:.0f} MiB", "-", "-"),
        (f"writes in {figures.rest_seconds:.0f} s at rest", f"{figures.rest_writes:.0f}", "0", "-"),
        ("CPU at rest", f"{figures.rest_cpu_percent:.2f} %", "< 2 %", "-"),
    ]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies; not a number where there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def provenance(source: Path = ROOT) -> str:
    """Of which commit the checkout `source` has the operator, when it ran, on what."""
    return f"Operator of {_when_and_where(RUN, source)}, shared with the cluster."


def provenance_of(parts: Sequence[str]) -> str:
    """Of which commit these folders of this checkout are, when it ran, on what."""
    return f"Of {_when_and_where(parts, ROOT)}."


def _when_and_where(parts: Sequence[str], source: Path) -> str:
    # A machine that the files were copied to has no history of them.
    commit = _git("rev-parse", "HEAD", source=source) or os.environ.get("BENCHMARK_COMMIT", "unknown")
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", *parts, source=source)
    changed = " with uncommitted changes" if changes else ""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return f"commit {commit}{changed}, {today}, {os.cpu_count()} cores ({platform.machine()})"


def _git(*arguments: str, source: Path) -> str:
    done = subprocess.run(["git", "-C", source, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()
