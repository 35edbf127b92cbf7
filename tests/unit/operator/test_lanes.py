"""The order of what waits: nothing starves, neither by lane nor by group."""

import random

import pytest

from sd_operator.lanes import Lanes

Thing = tuple[str, int]


def lanes() -> Lanes[Thing]:
    return Lanes(lambda thing: thing[0])


def drain(waiting: Lanes[Thing], count: int) -> list[Thing]:
    return [waiting.pop() for _ in range(count)]


def test_first_in_first_out_where_nothing_else_is_said() -> None:
    waiting = lanes()
    for number in (3, 1, 2):
        waiting.add(("a", number), urgent=False)
    assert drain(waiting, 3) == [("a", 3), ("a", 1), ("a", 2)]
    assert len(waiting) == 0


def test_an_urgent_thing_passes_thousands_of_others() -> None:
    waiting = lanes()
    for number in range(5000):
        waiting.add(("a", number), urgent=False)
    waiting.add(("a", 9999), urgent=True)
    assert ("a", 9999) in drain(waiting, 2)


def test_of_five_served_one_is_not_urgent_while_both_wait() -> None:
    waiting = lanes()
    for number in range(100):
        waiting.add(("urgent", number), urgent=True)
        waiting.add(("other", number), urgent=False)
    groups = [group for group, _ in drain(waiting, 50)]
    assert groups == (["urgent"] * 4 + ["other"]) * 10


@pytest.mark.parametrize("urgent", [False, True])
def test_a_group_of_thousands_does_not_keep_another_waiting(urgent: bool) -> None:
    waiting = lanes()
    for number in range(5000):
        waiting.add(("crowd", number), urgent=urgent)
    for number in range(3):
        waiting.add(("lonely", number), urgent=urgent)
    served = drain(waiting, 6)
    assert [group for group, _ in served] == ["crowd", "lonely"] * 3


def test_what_waits_can_become_urgent_but_not_less_so_and_is_served_once() -> None:
    waiting = lanes()
    for number in range(10):
        waiting.add(("a", number), urgent=False)
    waiting.add(("a", 7), urgent=True)
    waiting.add(("a", 7), urgent=False)
    assert len(waiting) == 10
    served = drain(waiting, 10)
    assert served[0] == ("a", 7)
    assert sorted(served) == [("a", number) for number in range(10)]


@pytest.mark.parametrize("seed", range(10))
def test_everything_is_served_exactly_once_whatever_the_order_of_adding(seed: int) -> None:
    chance = random.Random(seed)
    waiting, expected, served = lanes(), 0, 0
    inside: set[Thing] = set()
    for _ in range(3000):
        if chance.random() < 0.6 or not inside:
            thing = (chance.choice("abc"), chance.randrange(40))
            expected += thing not in inside
            inside.add(thing)
            waiting.add(thing, urgent=chance.random() < 0.3)
        else:
            inside.remove(waiting.pop())
            served += 1
        assert len(waiting) == len(inside)
    for _ in range(len(inside)):
        inside.remove(waiting.pop())
        served += 1
    assert served == expected


def test_nothing_is_left_after_clearing() -> None:
    waiting = lanes()
    waiting.add(("a", 1), urgent=True)
    waiting.add(("a", 2), urgent=False)
    waiting.clear()
    assert ("a", 1) not in waiting
    waiting.add(("a", 3), urgent=False)
    assert drain(waiting, 1) == [("a", 3)]
