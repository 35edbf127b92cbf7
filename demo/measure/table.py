"""A table of scores, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a header, and a sentence on what they show."""

    says: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def cell(self, row: str, column: str) -> str:
        """The cell of a row, named by its first cell. Raises ValueError for names that are not there."""
        names = [cells[0] for cells in self.rows]
        return self.rows[names.index(row)][self.header.index(column)]

    def markdown(self) -> str:
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        return f"{self.says}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


ATTRIBUTES = {
    "colour": "colour",
    "shape": "shape",
    "size": "size",
    "layout": "place",
    "background": "background",
    "all": "**all**",
}


def of_shares(says: str, first: str, rows: Sequence[tuple[str, Mapping[str, float]]]) -> Table:
    """The attributes' shares of right pictures, one row for each way to make them."""
    return Table(
        says,
        (first, *ATTRIBUTES.values()),
        tuple((name, *(percent(shares[key]) for key in ATTRIBUTES)) for name, shares in rows),
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
