"""Work that other threads do: who shares it, and ending a task while it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_bench import WAIT, Bench, picture, running

from sd_runtime.engine.work import Host, Made, Unneeded
from sd_runtime.errors import Cancelled
from sd_runtime.tasks.control import Control, Hint
from sd_runtime.tasks.extras import Extras
from sd_runtime.tasks.recipe import Hires, Upscaler

#: Far less than a plugin may take.
SOON = 10.0


@pytest.fixture(scope="module")
def bench(checkpoint_file: Path) -> Iterator[Bench]:
    with running(checkpoint_file) as bench:
        yield bench


class Stuck:
    """A plugin that does not answer until it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.leave = threading.Event()

    def __call__(self, *_: Any) -> Any:
        self.asked.set()
        assert self.leave.wait(WAIT)
        return np.zeros((128, 128, 3), np.uint8)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.leave.set()


def test_an_interruption_ends_the_wait_for_a_map(bench: Bench, stuck: Stuck) -> None:
    own = Control(network=Path("canny.safetensors"), hint=Hint(stuck, lane="basic"))
    ticket = bench.engine.submit(replace(picture(), controls=(own,)))
    assert stuck.asked.wait(WAIT)
    ticket.interrupt()
    with pytest.raises(Cancelled):
        ticket.future.result(SOON)
    assert bench.alone(picture()).shape == (64, 64, 3)


@pytest.mark.parametrize("waits_for", ["the upscaler", "the map"])
def test_an_interruption_before_the_second_pass_gives_the_picture_of_the_first(
    bench: Bench, stuck: Stuck, waits_for: str
) -> None:
    plain = picture(width=64, height=64)
    upscaler, controls = Upscaler(name="Lanczos"), list[Control]()
    if waits_for == "the upscaler":
        upscaler = Upscaler(name="stuck", plugin=stuck, lane="upscale")
    else:
        hint = Hint(stuck, lane="basic")
        controls = [Control(network=Path("canny.safetensors"), hint=hint, first_pass=False)]
    hires = Hires(
        guided=plain.guided,
        width=128,
        height=128,
        upscale_to=(128, 128),
        upscaler=upscaler,
        denoising_strength=0.5,
    )
    ticket = bench.engine.submit(replace(plain, hires=hires, controls=tuple(controls)))
    assert stuck.asked.wait(WAIT)
    ticket.interrupt()
    made = ticket.future.result(SOON)
    assert made.interrupted
    assert np.array_equal(made.pixels, bench.alone(plain))


def test_an_interruption_ends_the_wait_for_an_upscaler(bench: Bench, stuck: Stuck) -> None:
    upscaler = Upscaler(name="stuck", plugin=stuck, lane="upscale")
    ticket = bench.engine.submit(Extras(image=np.zeros((8, 8, 3), np.uint8), upscaler_1=upscaler, scale=2.0))
    assert stuck.asked.wait(WAIT)
    ticket.interrupt()
    with pytest.raises(Cancelled):
        ticket.future.result(SOON)


def test_who_went_away_still_counts_among_those_who_wait_for_a_plugin(bench: Bench, stuck: Stuck) -> None:
    def waiting(call: Any) -> Any:
        hint = Hint(call, lane="basic")
        own = Control(network=Path("canny.safetensors"), hint=hint)
        return bench.engine.submit(replace(picture(), controls=(own,)))

    calls = [Stuck() for _ in range(5)]
    first = [waiting(call) for call in calls[:4]]
    try:
        for call, ticket in zip(calls, first, strict=False):
            assert call.asked.wait(WAIT)
            ticket.interrupt()
            assert isinstance(ticket.future.exception(SOON), Cancelled)
        fifth = waiting(calls[4])
        bench.alone(picture())
        assert not calls[4].asked.is_set()
        calls[0].leave.set()
        assert calls[4].asked.wait(WAIT)
        fifth.interrupt()
        assert isinstance(fifth.future.exception(SOON), Cancelled)
    finally:
        for call in calls:
            call.leave.set()


class Asks:
    """Asks the host for this."""

    checkpoint = Unneeded.CHECKPOINT

    def __init__(self, work: Host) -> None:
        self.work = work

    def run(self, model: Any, on_step: Any) -> Any:
        return Made((yield self.work))


def test_who_asks_the_host_for_the_same_shares_one_call(bench: Bench) -> None:
    asked, key, leave = list[int](), object(), threading.Event()

    def call() -> Any:
        asked.append(1)
        assert leave.wait(WAIT)
        return np.zeros((8, 8, 3), np.uint8)

    tickets = bench.together([Asks(Host(call, key)) for _ in range(5)])
    # The host's other thread is free for others.
    other = bench.engine.submit(Asks(Host(lambda: np.ones((8, 8, 3), np.uint8))))
    assert other.future.result(WAIT).pixels.all()
    leave.set()
    answers = [ticket.future.result(WAIT).pixels for ticket in tickets]
    assert len(asked) == 1
    assert all(each is answers[0] for each in answers)
