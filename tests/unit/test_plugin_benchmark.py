"""The benchmark of plugins passes only what it has measured."""

from __future__ import annotations

import pytest

from benchmarks.plugins import IDENTITY, MOST_OVERHEAD, Row, faults

_MEASURED = Row("basic", IDENTITY, times=100, added=(MOST_OVERHEAD, 9.0))
_OTHER = Row("basic", "canny", times=3)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([_MEASURED, _OTHER], []),
        ([_MEASURED, Row("aux", "depth", note="its weights are missing")], []),
        (
            [Row("basic", IDENTITY, added=(MOST_OVERHEAD + 0.1, 9.0))],
            ["the contract adds 5.1 ms, more than 5"],
        ),
        ([Row("basic", IDENTITY, added=(float("nan"), 9.0))], ["the contract adds nan ms, more than 5"]),
        ([_OTHER], ["was not measured"]),
        ([], ["was not measured"]),
        (
            [Row("basic", IDENTITY, note="failed: its worker ended", has_failed=True)],
            ["its worker ended", "was not measured"],
        ),
        (
            [_MEASURED, Row("basic", "canny", note="failed: late", has_failed=True)],
            ["basic, canny: failed: late"],
        ),
    ],
)
def test_what_is_not_as_it_should_be_is_told_of(rows: list[Row], told: list[str]) -> None:
    found = faults(rows)
    assert len(found) == len(told)
    assert all(part in each for part, each in zip(told, found, strict=True))
