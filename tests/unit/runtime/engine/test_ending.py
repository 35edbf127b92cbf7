"""Tasks that end before their time: taken back, interrupted, failed, out of memory."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from engine_bench import WAIT, Bench, Gate, RecordingObserver, difference, picture, running, settings

from sd_runtime.engine.loop import Engine, Ticket
from sd_runtime.engine.memory import NoMeter
from sd_runtime.engine.work import Decode, Encode, Host, Made, OnStep, Step, TaskRun
from sd_runtime.errors import Cancelled, GenerationError, SdError, UnsupportedError
from sd_runtime.models import checkpoint
from sd_runtime.models.library import Library
from sd_runtime.models.network import Model as Network
from sd_runtime.models.vae import Vae
from sd_runtime.prompt import encoding
from sd_runtime.tasks.txt2img import Txt2Img

if TYPE_CHECKING:
    from sd_runtime.models.network import Model


@pytest.fixture(scope="module")
def shared_bench(checkpoint_file: Path) -> Iterator[Bench]:
    with running(checkpoint_file) as bench:
        yield bench


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    shared_bench.observer.calls.clear()
    return shared_bench


# --- taken back, interrupted


def test_a_cancelled_request_ends_at_its_next_evaluation_and_no_other_does(bench: Bench) -> None:
    steps_done: list[int] = []
    tickets: list[Ticket] = []

    def cancel_at_two(step: Step) -> None:
        steps_done.append(step.done)
        if step.done == 2:
            tickets[0].cancel()

    gate = Gate()
    bench.engine.submit(gate)
    tickets.append(bench.engine.submit(picture(steps=50), on_step=cancel_at_two))
    tickets.append(bench.engine.submit(picture(seed=2)))
    gate.open.set()
    with pytest.raises(Cancelled):
        tickets[0].future.result(WAIT)
    assert tickets[1].future.result(WAIT).pixels.shape == (64, 64, 3)
    assert steps_done == [1, 2]


def test_cancelling_a_finished_request_changes_nothing(bench: Bench) -> None:
    ticket = bench.engine.submit(picture())
    ticket.future.result(WAIT)
    ticket.cancel()
    ticket.interrupt()
    assert not ticket.future.result().interrupted


def test_what_waits_behind_a_load_is_let_go_at_once_when_it_is_taken_back(
    bench: Bench, checkpoint_file: Path
) -> None:
    gate = Gate()
    bench.engine.submit(gate)
    running_one = bench.engine.submit(picture(steps=2000))
    load = bench.engine.load(checkpoint_file)
    waiting = bench.engine.submit(picture())
    gate.open.set()
    waiting.cancel()
    with pytest.raises(Cancelled):
        waiting.future.result(WAIT)
    assert not load.done()
    running_one.cancel()
    assert load.result(WAIT).family == "SD15"


def test_an_interrupted_request_gives_the_picture_that_there_is(bench: Bench) -> None:
    whole = bench.alone(picture(steps=30))
    tickets: list[Ticket] = []
    reached: list[int] = []

    def interrupt(step: Step) -> None:
        reached.append(step.done)
        if step.done == 25:
            tickets[0].interrupt()

    gate = Gate()
    bench.engine.submit(gate)
    tickets.append(bench.engine.submit(picture(steps=30), on_step=interrupt))
    gate.open.set()
    made = tickets[0].future.result(WAIT)
    assert made.interrupted
    assert max(reached) == 25
    # most of the way there, it looks like what it would have become
    assert made.pixels.shape == whole.shape
    assert np.abs(made.pixels.astype(int) - whole).mean() < 40


# --- failed


class NotANumber:
    """A task whose latents have gone wrong."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        pixels = yield Decode(torch.full((1, 4, 8, 8), float("nan")))
        return Made(pixels)


class Defective:
    """A task with a bug in it."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        yield Encode("a")
        raise KeyError("a bug")


def break_the_callback(step: Step) -> None:
    raise RuntimeError("a broken callback")


def test_values_that_are_not_numbers_are_an_error_and_not_a_black_picture(bench: Bench) -> None:
    with pytest.raises(GenerationError, match="not finite numbers"):
        bench.engine.submit(NotANumber()).future.result(WAIT)


def test_a_failing_task_fails_alone(bench: Bench) -> None:
    good = bench.engine.submit(picture())
    bad = [
        bench.engine.submit(NotANumber()),
        bench.engine.submit(Defective()),
        bench.engine.submit(picture(), on_step=break_the_callback),
        bench.engine.submit(picture(clip_skip=9)),
    ]
    kinds = [type(ticket.future.exception(WAIT)) for ticket in bad]
    assert kinds == [GenerationError, GenerationError, GenerationError, UnsupportedError]
    assert good.future.result(WAIT).pixels.shape == (64, 64, 3)


class WrongContext(Txt2Img):
    """Its texts do not fit the network."""

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        story = Txt2Img.run(self, model, on_step)
        work = next(story)
        while True:
            answer: Any = yield work
            if isinstance(work, Encode):
                answer = type(answer)(answer.context[:, :, :7])
            try:
                work = story.send(answer)
            except StopIteration as finished:
                return finished.value  # type: ignore[no-any-return]


def test_what_cannot_be_computed_in_a_batch_fails_only_those_it_concerns(bench: Bench) -> None:
    tickets = bench.together([picture(seed=1), picture(kind=WrongContext), picture(seed=3)])
    assert isinstance(tickets[1].future.exception(WAIT), GenerationError)
    for seed, ticket in ((1, tickets[0]), (3, tickets[2])):
        assert difference(ticket.future.result(WAIT).pixels, bench.alone(picture(seed=seed))) <= 2


def test_an_error_that_is_kept_keeps_nothing_of_what_was_computed(bench: Bench) -> None:
    large: list[weakref.ref[torch.Tensor]] = []

    class Failing:
        checkpoint: Path | None = None

        def run(self, model: Model, on_step: OnStep) -> TaskRun:
            hidden = torch.zeros(1000)
            large.append(weakref.ref(hidden))
            yield Encode("a")
            raise GenerationError("it failed")

    class Broken(Failing):
        def run(self, model: Model, on_step: OnStep) -> TaskRun:
            hidden = torch.zeros(1000)
            large.append(weakref.ref(hidden))
            yield Encode("a")
            raise KeyError("a bug")

    kept = [bench.engine.submit(task).future.exception(WAIT) for task in (Failing(), Broken())]
    bench.alone(picture(steps=1))  # the engine is done with them
    assert all(isinstance(error, GenerationError) for error in kept)
    assert [ref() for ref in large] == [None, None]


@pytest.mark.parametrize("answers", [True, False])
def test_a_device_that_is_lost_ends_the_engine_and_one_that_answers_does_not(
    checkpoint_file: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    def broken(model: Network, *rest: Any, **more: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    ended = threading.Event()
    engine = Engine(settings(), Library(()), RecordingObserver(), on_end=ended.set)
    engine.start()
    try:
        engine.load(checkpoint_file).result(WAIT)
        monkeypatch.setattr(Network, "predict", broken)
        monkeypatch.setattr(NoMeter, "answers", lambda meter: answers)
        with pytest.raises(SdError):
            engine.submit(picture()).future.result(WAIT)
        if answers:
            monkeypatch.setattr(Network, "predict", _predict)
            assert engine.submit(picture(steps=1)).future.result(WAIT).pixels.shape == (64, 64, 3)
            assert not ended.is_set()
        else:
            assert ended.wait(WAIT)
            with pytest.raises(SdError):
                engine.submit(picture()).future.result(WAIT)
    finally:
        engine.close()


@pytest.mark.parametrize("shows_in", ["a text", "a task's own arithmetic", "a load"])
def test_a_lost_device_is_noticed_wherever_it_shows(
    checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shows_in: str
) -> None:
    def broken(*rest: Any, **more: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    class Breaks:
        checkpoint: Path | None = None

        def run(self, model: Model, on_step: OnStep) -> TaskRun:
            yield Encode("a")
            broken()
            return Made(np.zeros((8, 8, 3), np.uint8))

    ended = threading.Event()
    engine = Engine(settings(), Library(()), RecordingObserver(), on_end=ended.set)
    engine.start()
    try:
        engine.load(checkpoint_file).result(WAIT)
        monkeypatch.setattr(NoMeter, "answers", lambda meter: False)
        if shows_in == "a text":
            monkeypatch.setattr(encoding, "encode", broken)
        if shows_in == "a load":
            monkeypatch.setattr(checkpoint, "load", broken)
            another = tmp_path / "another.safetensors"
            another.write_bytes(checkpoint_file.read_bytes())
            outcome: Any = engine.load(another)
        else:
            outcome = engine.submit(Breaks() if "task" in shows_in else picture()).future
        assert outcome.exception(WAIT) is not None
        assert ended.wait(WAIT)
    finally:
        engine.close()


# --- work of the host


class Resizing:
    """A task that needs no device for a while."""

    checkpoint: Path | None = None

    def __init__(self, call: Any) -> None:
        self.call = call

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        pixels = yield Host(self.call)
        return Made(pixels)


def test_the_device_goes_on_while_the_host_works(bench: Bench) -> None:
    go_on = threading.Event()

    def slow() -> Any:
        assert go_on.wait(WAIT)
        return np.ones((8, 8, 3), np.uint8)

    waiting = bench.engine.submit(Resizing(slow))
    assert bench.alone(picture()).shape == (64, 64, 3)
    assert not waiting.future.done()
    go_on.set()
    assert waiting.future.result(WAIT).pixels.sum() == 8 * 8 * 3


def test_host_work_that_fails_fails_its_task_alone(bench: Bench) -> None:
    def broken() -> Any:
        raise ValueError("no such picture")

    with pytest.raises(GenerationError, match="no such picture"):
        bench.engine.submit(Resizing(broken)).future.result(WAIT)


def test_a_task_can_be_taken_back_while_the_host_works(bench: Bench) -> None:
    go_on = threading.Event()
    waiting = bench.engine.submit(Resizing(lambda: go_on.wait(WAIT)))
    time.sleep(0.05)
    waiting.cancel()
    with pytest.raises(Cancelled):
        waiting.future.result(WAIT)
    go_on.set()
    assert bench.alone(picture()).shape == (64, 64, 3)


# --- too little memory


@dataclass
class SmallDevice:
    """Replaces the network's call: more rows than so many do not fit the device's memory."""

    rows: int
    refused: int = 0

    def predict(self, model: Network, x: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        if len(x) > self.rows:
            self.refused += 1
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(x)} rows")
        return _predict(model, x, *rest, **more)


_predict = Network.predict


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(rows: int) -> SmallDevice:
        device = SmallDevice(rows)
        monkeypatch.setattr(
            Network, "predict", lambda model, x, *rest, **more: device.predict(model, x, *rest, **more)
        )
        return device

    return make


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_call_that_does_not_fit_the_memory_is_split_and_everybody_gets_the_picture(
    checkpoint_file: Path, bench: Bench, small: Any, rows: int
) -> None:
    tasks = [picture(seed=seed) for seed in range(4)]
    alone = [bench.alone(task) for task in tasks]
    device = small(rows)
    with running(checkpoint_file) as tight:
        for expected, ticket in zip(alone, tight.together(tasks), strict=True):
            assert difference(expected, ticket.future.result(WAIT).pixels) <= 2
        assert tight.observer.ran_out == device.refused > 0
        refused = device.refused
        tight.alone(picture(steps=20))
        # what fits was learned: nothing more runs out
        assert device.refused == refused


def test_a_device_that_is_full_is_not_taken_for_a_lost_one(
    checkpoint_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(model: Network, x: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        if len(x) > 2:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return _predict(model, x, *rest, **more)

    monkeypatch.setattr(Network, "predict", predict)
    monkeypatch.setattr(NoMeter, "answers", lambda meter: False)
    with running(checkpoint_file) as tight:
        for ticket in tight.together([picture(seed=seed) for seed in range(4)]):
            assert ticket.future.result(WAIT).pixels.shape == (64, 64, 3)


def test_what_a_call_that_ran_out_had_computed_is_gone_before_the_smaller_ones(
    checkpoint_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def predict(model: Network, x: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        alive.append(sum(ref() is not None for ref in left))
        hidden = x * 2
        left.append(weakref.ref(hidden))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return _predict(model, x, *rest, **more)

    monkeypatch.setattr(Network, "predict", predict)
    with running(checkpoint_file) as tight:
        for ticket in tight.together([picture(seed=seed, steps=2) for seed in range(4)]):
            ticket.future.result(WAIT)
    assert len(alive) > 4
    assert set(alive) == {0}


def test_a_picture_that_does_not_fit_the_memory_at_all_is_an_error_that_says_so_and_the_engine_goes_on(
    checkpoint_file: Path, small: Any
) -> None:
    with running(checkpoint_file) as tight:
        device = small(0)
        with pytest.raises(GenerationError, match="memory is too small for one evaluation of 8x8 latents"):
            tight.engine.submit(picture()).future.result(WAIT)
        device.rows = 99
        assert tight.alone(picture()).shape == (64, 64, 3)


def test_a_decoding_that_runs_out_of_memory_is_tried_once_more(
    checkpoint_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding, failures = Vae.decoding, [torch.OutOfMemoryError("CUDA out of memory")]

    def failing(vae: Vae, *rest: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return decoding(vae, *rest, **more)

    monkeypatch.setattr(Vae, "decoding", failing)
    with running(checkpoint_file) as bench:
        assert bench.alone(picture()).shape == (64, 64, 3)
        failures += [torch.OutOfMemoryError("CUDA out of memory")] * 2
        with pytest.raises(GenerationError, match="memory is too small for this picture"):
            bench.engine.submit(picture()).future.result(WAIT)
        assert bench.alone(picture()).shape == (64, 64, 3)
