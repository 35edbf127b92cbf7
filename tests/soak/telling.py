"""How soak tests choose what to run, run several stories at once, and tell what came of them."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.rig.processes import ROOT
from benchmarks.table import provenance
from tests.soak import rehearsal

EVIDENCE = ROOT / "docs/evidence"
#: Characters of a failure.
SHOWN = 6000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one story."""

    cells: tuple[str, ...]
    seconds: float
    error: str = ""


#: Plays a story; returns the cells of its line.
Player = Callable[[], Awaitable[tuple[str, ...]]]


async def all_of(players: Iterable[tuple[str, Player]]) -> list[Outcome]:
    """Every story, some at the same time; none is given up because of another."""
    gate = asyncio.Semaphore(int(os.environ.get("SOAK_AT_ONCE", "3")))

    async def one(title: str, player: Player) -> Outcome:
        async with gate:
            begun = time.monotonic()
            try:
                cells, error = await player(), ""
            except Exception as failure:  # noqa: BLE001 - whatever went wrong is this story's outcome
                cells, error = (title,), f"{type(failure).__name__}: {failure}"
            outcome = Outcome(cells, time.monotonic() - begun, error)
            print(line(outcome), flush=True)
            return outcome

    return list(await asyncio.gather(*(one(title, player) for title, player in players)))


def line(outcome: Outcome, width: int = 1) -> str:
    """One row of the table, of at least so many cells before the last two."""
    cells = [*outcome.cells, *[""] * (width - len(outcome.cells))]
    result = outcome.error.splitlines()[0] if outcome.error else "the same"
    return f"| {' | '.join((*cells, f'{outcome.seconds:.0f} s', result))} |"


def table(title: str, header: Sequence[str], outcomes: Iterable[Outcome], notes: str = "") -> str:
    """The evidence."""
    columns = (*header, "took", "end state")
    rows = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    rows += [line(outcome, len(header)) for outcome in outcomes]
    return "\n".join(
        [f"# {title}", "", provenance(rehearsal.source()), "", *([notes, ""] if notes else []), *rows, ""]
    )


def keep(name: str, text: str) -> None:
    """Show the evidence, and write it where SOAK_EVIDENCE=1 asks for that."""
    print(text)
    if os.environ.get("SOAK_EVIDENCE") == "1":
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        (EVIDENCE / f"soak-{name}.txt").write_text(text)


def failures(outcomes: Iterable[Outcome]) -> str:
    """All that went wrong; of each story as much as a person reads."""
    return "\n\n".join(f"{' '.join(each.cells)}: {each.error[:SHOWN]}" for each in outcomes if each.error)


def wanted(name: str) -> bool:
    """Whether SOAK_ONLY, if set, asks for the row of this name; parts of several names have `;` between."""
    only = os.environ.get("SOAK_ONLY", "")
    return any(part in name for part in only.split(";"))


def seeds() -> list[int]:
    """SOAK_SEEDS."""
    return [int(seed) for seed in os.environ.get("SOAK_SEEDS", "1,2").split(",")]
