"""What is learned of the device's memory."""

from dataclasses import dataclass

import pytest

from sd_runtime.engine import recent
from sd_runtime.engine.memory import Guard, NoMeter, forget_traceback


@dataclass
class Gauge:
    """A device with so many free bytes, on which the last call needed so many."""

    left: int = 1000
    needed: int = 0
    released: int = 0

    def free(self) -> int | None:
        return self.left

    def begin(self) -> None: ...

    def peak(self) -> int | None:
        return self.needed

    def release(self) -> None:
        self.released += 1

    def answers(self) -> bool:
        return True


def test_nothing_is_limited_before_anything_is_known() -> None:
    assert Guard(Gauge()).rows("kind") is None
    guard = Guard(NoMeter())
    guard.note("kind", rows=4)
    assert guard.rows("kind") is None


@pytest.mark.parametrize(("needed", "rows", "limit"), [(200, 2, 8), (800, 2, 2), (2000, 1, 1)])
def test_rows_are_as_many_as_the_free_memory_holds(needed: int, rows: int, limit: int) -> None:
    guard = Guard(Gauge(needed=needed))
    guard.note("kind", rows)
    assert guard.rows("kind") == limit
    assert guard.rows("another kind") is None


def test_a_call_that_ran_out_has_half_the_rows_next_time_and_gives_back_what_was_kept() -> None:
    gauge = Gauge()
    guard = Guard(gauge)
    guard.note_failure("kind", rows=32)
    assert (guard.rows("kind"), gauge.released) == (16, 1)
    guard.note_failure("kind", rows=8)
    assert guard.rows("kind") == 4
    guard.note_failure("kind", rows=8)  # the other half of the same call
    assert guard.rows("kind") == 4
    guard.note_failure("kind", rows=1)
    assert guard.rows("kind") == 1


def test_a_limit_that_was_learned_is_tried_again() -> None:
    guard = Guard(NoMeter())
    guard.note_failure("kind", rows=8)
    for _ in range(500):
        guard.note("kind", rows=4)
    assert guard.rows("kind") == 5


def test_of_kinds_not_used_for_long_nothing_is_kept() -> None:
    guard = Guard(Gauge(needed=500))
    guard.note("first", rows=1)
    guard.note("often", rows=1)
    for number in range(recent.KINDS - 1):
        assert guard.rows("often") == 1
        guard.note(number, rows=1)
    assert guard.rows("often") == 1
    assert guard.rows("first") is None
    assert len(list(guard._kinds.all())) == recent.KINDS


def test_what_an_error_came_from_is_forgotten_whatever_came_from_what() -> None:
    first, second, alone = ValueError("first"), ValueError("second"), ValueError("alone")
    first.__cause__, second.__cause__, alone.__cause__ = second, first, alone
    for error in (first, alone):
        forget_traceback(error)
    assert [each.__cause__ for each in (first, second, alone)] == [None] * 3
