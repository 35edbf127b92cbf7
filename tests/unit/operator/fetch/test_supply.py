"""Which connection brings which bytes, and the pace that is asked of one."""

import threading
from itertools import pairwise

import pytest

from sd_operator.fetch.journal import Span
from sd_operator.fetch.pace import Pace
from sd_operator.fetch.supply import Supply


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def nowhere(_offset, _chunk):
    pass


def test_spans_are_claimed_in_order_until_all_are_there(clock):
    supply = Supply([Span(0, 10), Span(20, 30)], clock=clock)
    one, other = supply.claim(0.0), supply.claim(0.0)
    assert (one.span, other.span) == (Span(0, 10), Span(20, 30))
    for claim in (one, other):
        assert claim.bring(bytes(10), nowhere) and claim.is_done
        supply.settle(claim)
    assert supply.claim(0.0) is None


def test_what_a_failed_connection_did_not_bring_waits_for_another(clock):
    supply = Supply([Span(0, 10), Span(20, 30)], clock=clock)
    failed = supply.claim(0.0)
    failed.bring(bytes(4), nowhere)
    supply.settle(failed)
    assert supply.claim(0.0).span == Span(4, 10)


def test_who_has_nothing_to_do_waits_for_those_that_may_fail(clock):
    supply = Supply([Span(0, 10)], clock=clock)
    claim, found = supply.claim(0.0), []
    waiting = threading.Thread(target=lambda: found.append(supply.claim(0.0)))
    waiting.start()
    supply.settle(claim)
    waiting.join(5)
    assert [each.span for each in found] == [Span(0, 10)]


def test_the_end_frees_who_waits(clock):
    supply = Supply([Span(0, 10)], clock=clock)
    supply.claim(0.0)
    found = []
    waiting = threading.Thread(target=lambda: found.append(supply.claim(0.0)))
    waiting.start()
    supply.end()
    waiting.join(5)
    assert found == [None]


def test_the_rest_of_a_slow_claim_is_taken_over_and_no_byte_comes_twice(clock):
    supply, written = Supply([Span(0, 1000)], clock=clock), []

    def write(offset, chunk):
        written.append(Span(offset, offset + len(chunk)))

    slow = supply.claim(0.0)
    slow.bring(bytes(30), write)
    clock.now = 3.0  # 10 bytes per second, 97 seconds to go
    fast = supply.claim(1000.0)
    assert fast.span == Span(30, 1000)
    assert not slow.bring(bytes(5), write) and slow.is_done
    assert fast.bring(bytes(970), write) and fast.is_done
    covered = [each for each in written if each.start < each.end]
    assert covered == [Span(0, 30), Span(30, 1000)]
    assert all(before.end == after.start for before, after in pairwise(covered))


@pytest.mark.parametrize(
    ("seconds", "brought", "pace", "taken"),
    [
        (3.0, 30, 1000.0, True),
        (1.0, 10, 1000.0, False),  # not long enough to tell
        (3.0, 30, 30.0, False),  # not so much slower
        (3.0, 950, 9000.0, False),  # nearly there
        (3.0, 30, 0.0, False),  # who asks has shown nothing yet
        (3.0, 0, 10.0, True),  # nothing came at all
    ],
)
def test_only_what_is_much_slower_is_taken_over(clock, seconds, brought, pace, taken):
    supply = Supply([Span(0, 1000)], clock=clock)
    claim = supply.claim(0.0)
    claim.bring(bytes(brought), nowhere)
    clock.now = seconds
    assert claim.is_slow(pace) == taken


def test_a_connection_keeps_its_pace_or_not():
    pace = Pace(least=100.0, window=10.0)
    assert pace.keeps(500, 5.0)  # half of a window
    assert pace.keeps(500, 5.0)  # enough
    assert pace.keeps(0, 9.0)
    assert not pace.keeps(999, 1.0)
