"""Whatever servers, networks, volumes and deaths do to a fetch: nothing partial is visible.

The fetcher is the real process; the servers are `tests.sources`, on loopback. Needs root, for mounts, and no
cluster. SOAK_AT_ONCE, SOAK_ONLY and SOAK_EVIDENCE as everywhere here.
"""

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.table import provenance
from tests.soak import rehearsal, telling
from tests.soak.fetching import network_rows, volume_rows
from tests.soak.fetching.scene import Scene, outcome
from tests.soak.fetching.server import MIB, Server, serving

ROWS = {**network_rows.ROWS, **volume_rows.ROWS}
HEADER = ("fault", "the fetch", "sent twice", "peak RSS", "looks of the reader", "took", "result")
NOTES = """\
Each row: a volume of its own, the process `python -m sd_operator.fetch`, and a reader that looks at the
volume all the time and hashes whatever it sees. It holds when the outcome is the one that is wanted; when
nothing was ever visible but whole files of the right sha256, and the manifest named no others; and when less
than a chunk (16 MiB) was sent twice for each kill; a row that says "may start over" is of a source that
cannot go on where it was (no ETag, no ranges, another file), or of a file that is asked for twice. The
fetcher's memory stays below 100 MiB; the file has 102 MiB."""


@dataclass(frozen=True, slots=True)
class Result:
    """A row that was played."""

    cells: tuple[str, ...]
    error: str

    def __str__(self) -> str:
        said = self.error.splitlines()[0][:160] if self.error else "holds"
        return f"| {' | '.join((*self.cells, said))} |"


def play(server: Server, folder: Path, name: str, row: Callable[[Scene], None]) -> Result:
    case = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    scene = Scene(server, case, folder / case)
    begun, error = time.monotonic(), ""
    scene.reader.start()
    try:
        row(scene)
        scene.reader.stop()
        scene.holds()
    except Exception as failure:  # noqa: BLE001 - whatever went wrong is this row's result
        error = f"{type(failure).__name__}: {failure}"
    finally:
        scene.reader.stop()
        scene.end()
    cells = (
        name,
        outcome(scene.tries),
        f"{scene.twice() / MIB:.1f} MiB" + (" (may start over)" if scene.may_start_over else ""),
        f"{scene.peak_rss() / MIB:.0f} MiB",
        f"{scene.reader.looks:,}",
        f"{time.monotonic() - begun:.1f} s",
    )
    result = Result(cells, error)
    print(result, flush=True)
    return result


def test_fetch_faults(tmp_path: Path) -> None:
    assert os.geteuid() == 0, "mounts (full and read-only volumes) need root"
    rows = {name: row for name, row in ROWS.items() if telling.wanted(name)}
    with (
        serving(tmp_path / "served") as server,
        ThreadPoolExecutor(int(os.environ.get("SOAK_AT_ONCE", "3"))) as pool,
    ):
        plays = [partial(play, server, tmp_path, name, row) for name, row in rows.items()]
        results = list(pool.map(lambda each: each(), plays))
    table = [f"| {' | '.join(HEADER)} |", "|" + " --- |" * len(HEADER), *map(str, results)]
    title = "# Faults of a fetch"
    text = "\n".join([title, "", provenance(rehearsal.source()), "", NOTES, "", *table, ""])
    print(text)
    if os.environ.get("SOAK_EVIDENCE") == "1":
        (telling.EVIDENCE / "fetch-faults.txt").write_text(text)
    failures = [f"{result.cells[0]}: {result.error[: telling.SHOWN]}" for result in results if result.error]
    assert not failures, "\n\n".join(failures)
