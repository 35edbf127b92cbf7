"""Long pieces of one task's work leave the others their turn."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_bench import WAIT, Bench, picture, running

from sd_runtime.engine.machine import Machine
from sd_runtime.engine.work import Encode, Made, OnStep, TaskRun, Upscale
from sd_runtime.errors import Cancelled
from sd_runtime.prompt import encoding

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

PIXELS = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def bench(checkpoint_file: Path) -> Iterator[Bench]:
    with running(checkpoint_file) as bench:
        yield bench


class Enlarging:
    """An enlargement of many tiles."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        pixels = yield Upscale(Path("any"), PIXELS)
        return Made(pixels)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tiles that were computed, each of which takes a while."""
    done: list[int] = []

    def enlarge(machine: Machine, work: Upscale) -> Generator[None, None, Any]:
        for number in range(40):
            time.sleep(0.05)
            done.append(number)
            yield
        return PIXELS + 1

    monkeypatch.setattr(Machine, "enlarge", enlarge)
    return done


def test_others_are_served_between_the_tiles_of_an_enlargement(bench: Bench, tiles: list[int]) -> None:
    large = bench.engine.submit(Enlarging())
    bench.alone(picture(steps=4))
    assert 0 < len(tiles) < 40
    assert not large.future.done()
    assert large.future.result(WAIT).pixels.max() == 1
    assert tiles == list(range(40))


def test_an_enlargement_ends_soon_after_it_is_taken_back(bench: Bench, tiles: list[int]) -> None:
    large = bench.engine.submit(Enlarging())
    while not tiles:
        time.sleep(0.01)
    large.cancel()
    with pytest.raises(Cancelled):
        large.future.result(WAIT)
    assert len(tiles) < 10
    bench.alone(picture(steps=1))


class Wordy:
    """Asks for one text after the other."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        for number in range(60):
            yield Encode(f"text {number}")
        return Made(PIXELS)


def test_a_task_with_many_texts_does_not_keep_the_others_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = encoding.encode

    def slow(*rest: Any, **more: Any) -> Any:
        time.sleep(0.05)
        return real(*rest, **more)

    monkeypatch.setattr(encoding, "encode", slow)
    wordy = bench.engine.submit(Wordy())
    bench.alone(picture(steps=4))
    assert not wordy.future.done()
    wordy.future.result(WAIT)
