"""The queue's promises, in virtual time: no test sleeps."""

import asyncio
import itertools
import selectors
from collections.abc import Awaitable, Callable

import pytest

from sd_operator.workqueue import WorkQueue


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self.virtual = 0.0
        loop = self

        class Selector(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
                events = super().select(0)
                if not events and timeout:
                    loop.virtual += timeout
                return events

        super().__init__(Selector())

    def time(self) -> float:
        return self.virtual


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.wait_for(test(), timeout=10_000))  # type: ignore[arg-type]


def now() -> float:
    return asyncio.get_running_loop().time()


class Recorder:
    """Notes when each key was worked on, and how many were at the same time."""

    def __init__(self, *, takes: float = 0.0, fails: int = 0, again_after: float | None = None) -> None:
        self.runs: list[tuple[str, float]] = []
        self.together: dict[str, int] = {}
        self.most_together = 0
        self.most_keys = 0
        self.takes = takes
        self.fails = fails
        self.again_after = again_after

    async def __call__(self, key: str) -> float | None:
        self.runs.append((key, now()))
        self.together[key] = self.together.get(key, 0) + 1
        self.most_together = max(self.most_together, self.together[key])
        self.most_keys = max(self.most_keys, sum(self.together.values()))
        try:
            await asyncio.sleep(self.takes)
            if self.fails:
                self.fails -= 1
                raise RuntimeError("no")
            return self.again_after
        finally:
            self.together[key] -= 1

    def times(self, key: str) -> list[float]:
        return [round(when, 3) for run_key, when in self.runs if run_key == key]


def test_a_key_that_waits_is_worked_on_once() -> None:
    async def test() -> None:
        work = Recorder()
        queue = WorkQueue(work, workers=2)
        for _ in range(5):
            queue.add("a")
        assert queue.depth == 1
        async with queue:
            await asyncio.sleep(1)
        assert work.times("a") == [0.0]

    in_virtual_time(test)


def test_a_key_added_while_it_runs_runs_once_more_and_never_beside_itself() -> None:
    async def test() -> None:
        work = Recorder(takes=1.0)
        async with WorkQueue(work, workers=4) as queue:
            queue.add("a")
            await asyncio.sleep(0.5)
            queue.add("a")
            queue.add("a")
            assert queue.depth == 1
            await asyncio.sleep(5)
        assert work.times("a") == [0.0, 1.0]
        assert work.most_together == 1

    in_virtual_time(test)


def test_different_keys_run_side_by_side_up_to_the_number_of_workers() -> None:
    async def test() -> None:
        work = Recorder(takes=1.0)
        async with WorkQueue(work, workers=3) as queue:
            for key in "abcde":
                queue.add(key)
            await asyncio.sleep(5)
        assert sorted(when for _, when in work.runs) == [0.0, 0.0, 0.0, 1.0, 1.0]
        assert work.most_keys == 3

    in_virtual_time(test)


def test_failures_are_tried_again_later_and_later_and_success_forgets_them() -> None:
    async def test() -> None:
        work = Recorder(fails=3)
        async with WorkQueue(work, workers=1, backoff_base=1.0, spread=lambda: 1.0) as queue:
            queue.add("a")
            await asyncio.sleep(20)
            assert work.times("a") == [0.0, 1.0, 3.0, 7.0]
            work.fails = 1
            queue.add("a")
            await asyncio.sleep(20)
        assert work.times("a")[4:] == [20.0, 21.0]

    in_virtual_time(test)


def test_the_backoff_is_bounded_and_spread() -> None:
    async def test() -> None:
        work = Recorder(fails=50)
        async with WorkQueue(
            work, workers=1, backoff_base=1.0, backoff_limit=8.0, spread=lambda: 0.0
        ) as queue:
            queue.add("a")
            await asyncio.sleep(40)
        times = work.times("a")
        assert times[1] == 0.5  # half of the base, where the spread is at its least
        assert max(later - sooner for sooner, later in itertools.pairwise(times)) == 4.0

    in_virtual_time(test)


def test_a_bad_key_does_not_keep_others_from_their_turn() -> None:
    async def test() -> None:
        done: list[str] = []

        async def work(key: str) -> None:
            if key == "bad":
                raise ValueError(key)
            done.append(key)

        async with WorkQueue(work, workers=1) as queue:
            queue.add("bad")
            queue.add("good")
            await asyncio.sleep(0.1)
            assert queue.alive
        assert done == ["good"]

    in_virtual_time(test)


def test_only_an_unforeseen_failure_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def work(key: str) -> None:
            raise {"foreseen": OSError, "unforeseen": KeyError}[key](key)

        async with WorkQueue(work, workers=1, foreseen=(OSError,)) as queue:
            queue.add("foreseen")
            queue.add("unforeseen")
            await asyncio.sleep(0.1)

    in_virtual_time(test)
    told = {record.levelname: bool(record.exc_info) for record in caplog.records}
    assert told == {"WARNING": False, "ERROR": True}


def test_a_news_ends_the_waiting_of_a_key_that_failed() -> None:
    async def test() -> None:
        work = Recorder(fails=1)
        async with WorkQueue(work, workers=1, backoff_base=60.0, spread=lambda: 1.0) as queue:
            queue.add("a")
            await asyncio.sleep(1)
            queue.add("a")
            await asyncio.sleep(200)
        assert work.times("a") == [0.0, 1.0]

    in_virtual_time(test)


def test_the_handler_says_when_it_wants_to_look_again() -> None:
    async def test() -> None:
        work = Recorder(again_after=10.0)
        async with WorkQueue(work, workers=1) as queue:
            queue.add("a")
            await asyncio.sleep(25)
            assert queue.delayed == 1
        assert work.times("a") == [0.0, 10.0, 20.0]

    in_virtual_time(test)


@pytest.mark.parametrize(
    ("delays", "expected"),
    [([5.0, 2.0], [2.0]), ([2.0, 5.0], [2.0]), ([5.0, 0.0], [0.0]), ([0.0, 5.0], [0.0])],
    ids=[
        "sooner wins",
        "later is ignored",
        "now cancels the wait",
        "a key that waits for a worker comes first",
    ],
)
def test_of_two_wishes_for_a_key_the_earlier_wins(delays: list[float], expected: list[float]) -> None:
    async def test() -> None:
        work = Recorder()
        queue = WorkQueue(work, workers=1)
        for delay in delays:
            queue.add("a", after=delay)
        async with queue:
            await asyncio.sleep(20)
        assert work.times("a") == expected

    in_virtual_time(test)


def test_closing_lets_the_running_finish_and_starts_nothing_more() -> None:
    async def test() -> None:
        work = Recorder(takes=3.0)
        queue = WorkQueue(work, workers=1, grace=10.0)
        async with queue:
            queue.add("a")
            queue.add("b")
            queue.add("c", after=1.0)
            await asyncio.sleep(0.5)
        assert now() == 3.0
        queue.add("d")
        await asyncio.sleep(10)
        assert [key for key, _ in work.runs] == ["a"]
        assert work.together == {"a": 0}

    in_virtual_time(test)


def test_closing_does_not_wait_for_ever() -> None:
    async def test() -> None:
        work = Recorder(takes=1000.0)
        async with WorkQueue(work, workers=1, grace=5.0) as queue:
            queue.add("a")
            await asyncio.sleep(1)
        assert now() == 6.0

    in_virtual_time(test)


def test_an_urgent_key_is_worked_on_before_those_that_wait() -> None:
    async def test() -> None:
        work = Recorder(takes=1.0)
        queue = WorkQueue(work, workers=1)
        for key in ("a", "b", "c"):
            queue.add(key)
        queue.add("c", urgent=True)
        async with queue:
            await asyncio.sleep(5)
        assert [key for key, _ in work.runs] == ["c", "a", "b"]

    in_virtual_time(test)


def test_urgency_outlives_a_delay_and_a_run() -> None:
    async def test() -> None:
        work = Recorder(takes=1.0)
        async with WorkQueue(work, workers=1) as queue:
            queue.add("late", after=2.5, urgent=True)
            queue.add("late", after=9.0)
            queue.add("runs")
            await asyncio.sleep(0.5)
            queue.add("runs", urgent=True)
            queue.add("x")
            queue.add("y")
            queue.add("z")
            await asyncio.sleep(20)
        assert [key for key, _ in work.runs] == ["runs", "runs", "x", "late", "y", "z"]

    in_virtual_time(test)


def test_groups_take_turns() -> None:
    async def test() -> None:
        work = Recorder(takes=1.0)
        queue = WorkQueue(work, workers=1, group=lambda key: key[0])
        for key in ("a1", "a2", "a3", "b1", "b2"):
            queue.add(key)
        async with queue:
            await asyncio.sleep(10)
        assert [key for key, _ in work.runs] == ["a1", "b1", "a2", "b2", "a3"]

    in_virtual_time(test)


def test_how_long_keys_waited_for_a_worker_is_told_without_their_delay() -> None:
    async def test() -> None:
        waits: list[float] = []
        async with WorkQueue(Recorder(takes=2.0), workers=1, waited=waits.append) as queue:
            queue.add("a")
            queue.add("b", after=0.5)
            await asyncio.sleep(10)
        assert waits == [0.0, 1.5]

    in_virtual_time(test)


def test_keys_that_fail_are_counted_until_they_succeed() -> None:
    async def test() -> None:
        work = Recorder(fails=1)
        async with WorkQueue(work, workers=1, backoff_base=10.0, spread=lambda: 1.0) as queue:
            queue.add("a")
            await asyncio.sleep(1)
            assert queue.failing == 1
            await asyncio.sleep(20)
            assert queue.failing == 0

    in_virtual_time(test)
