"""How many evaluations a call joins, by how long calls took."""

import pytest

from sd_runtime.engine import recent
from sd_runtime.engine.pace import Pace


def grown(pace: Pace, seconds_of: dict[int, float], calls: int = 40) -> int:
    """The limit after calls that take so long for each number of evaluations, two rows each."""
    for _ in range(calls):
        size = pace.limit("kind")
        pace.note("kind", evaluations=size, rows=2 * size, seconds=seconds_of[size])
    return pace.limit("kind")


FREE = dict.fromkeys((1, 2, 4, 8, 16), 1.0)
FULL = {size: float(size) for size in (1, 2, 4, 8, 16)}


@pytest.mark.parametrize(
    ("seconds_of", "limit"),
    [
        (FREE, 16),  # a call costs the same whatever is in it
        (FULL, 1),  # a row costs the same whatever is beside it
        (FREE | {8: 2.0, 16: 4.0}, 4),  # the device is full at four
        ({1: 1.0, 2: 1.96, 4: 3.9, 8: 7.8, 16: 15.6}, 1),  # too little is gained
    ],
)
def test_calls_grow_for_as_long_as_that_makes_a_row_cheaper(seconds_of: dict[int, float], limit: int) -> None:
    assert grown(Pace(16), seconds_of) == limit


def test_calls_never_grow_beyond_the_ceiling() -> None:
    assert grown(Pace(12), FREE | {12: 1.0}) == 12


def test_the_first_call_of_a_size_does_not_count_against_it() -> None:
    pace = Pace(2)
    assert grown(pace, FREE, calls=2) == 2
    pace.note("kind", evaluations=2, rows=4, seconds=9.0)  # compiles, allocates
    pace.note("kind", evaluations=2, rows=4, seconds=1.0)
    assert pace.limit("kind") == 2


def test_what_did_not_pay_is_tried_again_later() -> None:
    pace = Pace(4)
    assert grown(pace, FULL) == 1
    assert grown(pace, FREE, calls=250) == 4


def test_kinds_of_calls_are_apart() -> None:
    pace = Pace(16)
    grown(pace, FREE)
    assert pace.limit("another") == 1
    pace.forget()
    assert pace.limit("kind") == 1


def test_of_kinds_not_used_for_long_nothing_is_kept() -> None:
    pace = Pace(16)
    grown(pace, FREE)
    for number in range(recent.KINDS):
        assert pace.limit(number) == 1
    assert pace.limit("kind") == 1
