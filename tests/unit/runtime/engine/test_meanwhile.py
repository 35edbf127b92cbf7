"""What another thread does for a task while the network computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_bench import WAIT, Bench, difference, picture, running

from sd_runtime.engine.work import Encode, Evaluate, Made, OnStep, TaskRun
from sd_runtime.errors import Cancelled, GenerationError
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.sampling.settings import NoiseSource

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Asking:
    """Evaluations, in each of which there is something to be done."""

    checkpoint: Path | None = None

    def __init__(self, meanwhile: Callable[[], None], evaluations: int = 3) -> None:
        self.meanwhile = meanwhile
        self.evaluations = evaluations
        self.story: list[str] = []

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        import torch

        text = yield Encode("a red cat")
        for _ in range(self.evaluations):
            self.story.append("asks")
            yield Evaluate(
                torch.zeros(1, 4, 8, 8), 1.0, ((text, 1.0),), None, 1.0, meanwhile=self._told(self.meanwhile)
            )
            self.story.append("goes on")
        return Made(PIXELS)

    def _told(self, meanwhile: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            self.story.append("begins")
            meanwhile()
            self.story.append("is done")

        return call


def test_it_is_done_by_another_thread_and_over_before_the_task_goes_on(bench: Bench) -> None:
    threads: set[str] = set()

    def slowly() -> None:
        threads.add(threading.current_thread().name.split("_")[0])
        time.sleep(0.1)

    task = Asking(slowly)
    bench.alone(task)
    assert task.story == ["asks", "begins", "is done", "goes on"] * 3
    assert threads == {"host"}


def test_the_network_computes_while_it_is_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = threading.Event()

    def until_the_call_is_over() -> None:
        assert computed.wait(WAIT)

    monkeypatch.setattr(bench.observer, "unet_call", lambda **told: computed.set())
    bench.alone(Asking(until_the_call_is_over))


def test_what_no_thread_was_free_for_is_left_to_the_task(bench: Bench) -> None:
    held = threading.Event()

    def hold() -> None:
        assert held.wait(WAIT)

    blockers = bench.together([Asking(hold, 1), Asking(hold, 1)])
    late = Asking(hold)
    threading.Timer(0.5, held.set).start()
    bench.alone(late)
    for blocker in blockers:
        blocker.future.result(WAIT)
    assert "goes on" in late.story


def test_an_error_in_it_is_the_tasks_own(bench: Bench) -> None:
    def broken() -> None:
        raise ValueError("no such number")

    alone = bench.alone(picture())
    failing, other = bench.together([Asking(broken), picture()])
    with pytest.raises(GenerationError, match="no such number"):
        failing.future.result(WAIT)
    assert np.array_equal(other.future.result(WAIT).pixels, alone)


def test_a_task_that_is_taken_back_meanwhile_ends_and_nothing_more_is_begun(bench: Bench) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert leave.wait(WAIT)

    task = Asking(hold, evaluations=50)
    ticket = bench.engine.submit(task)
    assert entered.wait(WAIT)
    ticket.cancel()
    leave.set()
    with pytest.raises(Cancelled):
        ticket.future.result(WAIT)
    assert task.story.count("begins") <= 2


def test_closing_leaves_no_thread_behind(checkpoint_file: Path) -> None:
    before = set(threading.enumerate())
    with running(checkpoint_file) as bench:
        entered = threading.Event()

        def slowly() -> None:
            entered.set()
            time.sleep(0.2)

        ticket = bench.engine.submit(Asking(slowly, evaluations=1000))
        assert entered.wait(WAIT)
    with pytest.raises(Cancelled):
        ticket.future.result(WAIT)
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)
        assert not thread.is_alive()


def pictures() -> list[Any]:
    return [
        *(
            picture(seed=seed, sampler="DPM++ 2M SDE", steps=steps)
            for seed, steps in ((1, 5), (2, 8), (3, 6))
        ),
        picture(seed=4, sampler="DPM++ SDE", steps=5),
        replace(nv := picture(seed=5, sampler="Euler a"), noise=replace(nv.noise, source=NoiseSource.NV)),
    ]


def test_pictures_are_the_same_whether_their_noise_is_drawn_ahead_or_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = [ticket.future.result(WAIT).pixels for ticket in bench.together(pictures())]
    ahead = [bench.alone(task) for task in pictures()]
    monkeypatch.setattr(
        ImageNoise, "prepare", property(lambda self: None, lambda self, value: None), raising=False
    )
    late = [bench.alone(task) for task in pictures()]
    assert all(np.array_equal(one, other) for one, other in zip(ahead, late, strict=True))
    assert max(difference(one, other) for one, other in zip(together, late, strict=True)) <= 1
