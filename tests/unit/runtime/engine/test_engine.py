"""The engine as a whole, on a tiny real network."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from sd_runtime.engine.loop import Engine, Ticket
from sd_runtime.engine.rounds import Rounds
from sd_runtime.engine.work import Decode, Encode, OnStep, TaskRun
from sd_runtime.errors import (
    Cancelled,
    CheckpointError,
    DeviceError,
    GenerationError,
    NotLoaded,
    UnsupportedError,
)
from sd_runtime.tasks.txt2img import Txt2Img

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

WAIT = 30.0


@dataclass
class RecordingObserver:
    calls: list[tuple[int, int]] = field(default_factory=list)  # rows, requests

    def unet_call(self, *, rows: int, requests: int, seconds: float) -> None:
        assert seconds > 0
        self.calls.append((rows, requests))


class Gate:
    """A task that holds the device thread until it is opened: what is handed in meanwhile starts together."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        self.entered.set()
        assert self.open.wait(WAIT)
        yield Encode("", 1)
        return np.zeros((8, 8, 3), np.uint8)


@dataclass
class Bench:
    engine: Engine
    observer: RecordingObserver

    def together(self, tasks: list[Txt2Img], **options: Any) -> list[Ticket]:
        """Tickets whose tasks are admitted in one go."""
        gate = Gate()
        self.engine.submit(gate)
        assert gate.entered.wait(WAIT)
        tickets = [self.engine.submit(task, **options) for task in tasks]
        gate.open.set()
        return tickets

    def alone(self, task: Txt2Img) -> np.ndarray[Any, Any]:
        return self.engine.submit(task).future.result(WAIT)


@pytest.fixture(scope="module")
def shared_engine(checkpoint_file: Path) -> Iterator[tuple[Engine, RecordingObserver]]:
    observer = RecordingObserver()
    engine = Engine(device="cpu", max_batch=8, observer=observer)
    engine.start()
    engine.load(checkpoint_file).result(WAIT)
    yield engine, observer
    engine.close()


@pytest.fixture
def bench(shared_engine: tuple[Engine, RecordingObserver]) -> Bench:
    engine, observer = shared_engine
    observer.calls.clear()
    return Bench(engine, observer)


def picture(**changes: Any) -> Txt2Img:
    defaults: dict[str, Any] = {
        "prompt": "a red cat",
        "negative_prompt": "",
        "width": 64,
        "height": 64,
        "steps": 6,
        "cfg_scale": 5.0,
        "sampler": "Euler",
        "scheduler": "automatic",
        "seed": 1,
    }
    return Txt2Img(**{**defaults, **changes})


def difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


NEIGHBOURS = [
    picture(sampler="Euler a", steps=9, seed=2),
    picture(sampler="Heun", steps=4, cfg_scale=9.0, seed=3),
    picture(sampler="DPM++ 2M", steps=7, cfg_scale=1.0, seed=4),
    picture(sampler="Euler", steps=12, prompt="a dog BREAK a house BREAK a tree", seed=5),
    picture(sampler="Heun", scheduler="exponential", steps=5, negative_prompt="ugly", seed=6),
    picture(sampler="Euler a", scheduler="sgm_uniform", steps=3, seed=7),
    picture(sampler="DPM++ 2M", scheduler="simple", steps=10, prompt="(blue:1.4) sky", clip_skip=2, seed=8),
]


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "Heun", "DPM++ 2M"])
def test_a_picture_is_the_same_alone_and_amid_seven_others(bench: Bench, sampler: str) -> None:
    task = picture(sampler=sampler, prompt="a green bird, " * 30, seed=99)
    alone = bench.alone(task)
    tickets = bench.together([*NEIGHBOURS[:3], task, *NEIGHBOURS[3:]])
    pictures = [ticket.future.result(WAIT) for ticket in tickets]
    assert max(requests for _, requests in bench.observer.calls) == 8
    assert difference(alone, pictures[3]) <= 2
    # The network has a say in the picture, or the comparison would mean nothing.
    assert all(difference(alone, other) > 20 for i, other in enumerate(pictures) if i != 3)


def test_the_same_request_twice_gives_the_same_bytes(bench: Bench) -> None:
    task = picture(sampler="Euler a")
    assert np.array_equal(bench.alone(task), bench.alone(task))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"prompt": "a blue dog"},
        {"negative_prompt": "a cat"},
        {"steps": 12},
        {"cfg_scale": 1.0},
        {"sampler": "Heun"},
        {"scheduler": "karras"},
        {"clip_skip": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_in_a_request_matters(bench: Bench, change: dict[str, Any]) -> None:
    assert difference(bench.alone(picture()), bench.alone(picture(**change))) > 2


def test_two_requests_with_different_samplers_share_calls(bench: Bench) -> None:
    tasks = [picture(sampler="Euler", seed=1), picture(sampler="DPM++ 2M", seed=2)]
    lone = [bench.alone(task) for task in tasks]
    bench.observer.calls.clear()
    shared = [ticket.future.result(WAIT) for ticket in bench.together(tasks)]
    assert bench.observer.calls == [(4, 2)] * 6
    assert all(difference(a, b) <= 2 for a, b in zip(lone, shared, strict=True))


def test_pictures_of_one_request_count_as_one_request(bench: Bench) -> None:
    tickets = bench.together([picture(seed=1), picture(seed=2)], request="batch of two")
    for ticket in tickets:
        ticket.future.result(WAIT)
    assert bench.observer.calls == [(4, 1)] * 6


def test_without_guidance_a_picture_costs_one_row(bench: Bench) -> None:
    bench.alone(picture(cfg_scale=1.0))
    assert bench.observer.calls == [(1, 1)] * 6


def test_a_newcomer_joins_at_the_next_evaluation(bench: Bench) -> None:
    tickets: list[Ticket] = []

    def join(done: int, steps: int) -> None:
        if done == 2:
            tickets.append(bench.engine.submit(picture(seed=2, steps=3)))

    bench.engine.submit(picture(steps=6), on_step=join).future.result(WAIT)
    tickets[0].future.result(WAIT)
    assert bench.observer.calls == [(2, 1)] * 2 + [(4, 2)] * 3 + [(2, 1)]


def test_sizes_take_turns(bench: Bench) -> None:
    order: list[int] = []

    def note(size: int) -> Callable[[int, int], None]:
        return lambda done, steps: order.append(size)

    gate = Gate()
    bench.engine.submit(gate)
    assert gate.entered.wait(WAIT)
    tickets = [
        bench.engine.submit(picture(width=size, steps=3), on_step=note(size)) for size in (64, 96, 128)
    ]
    gate.open.set()
    shapes = [ticket.future.result(WAIT).shape for ticket in tickets]
    assert shapes == [(64, 64, 3), (64, 96, 3), (64, 128, 3)]
    assert order == [64, 96, 128] * 3


def test_more_than_a_batch_holds_is_served_in_turn(checkpoint_file: Path) -> None:
    observer = RecordingObserver()
    engine = Engine(device="cpu", max_batch=2, observer=observer)
    bench = Bench(engine, observer)
    engine.start()
    engine.load(checkpoint_file).result(WAIT)
    try:
        tickets = bench.together([picture(seed=seed, steps=4) for seed in range(3)])
        for ticket in tickets:
            ticket.future.result(WAIT)
    finally:
        engine.close()
    assert observer.calls == [(4, 2)] * 6


def test_steps_are_reported_in_order(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []
    bench.engine.submit(
        picture(sampler="Heun", steps=3), on_step=lambda done, steps: seen.append((done, steps))
    ).future.result(WAIT)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_cancelled_request_ends_at_its_next_evaluation_and_no_other_does(bench: Bench) -> None:
    steps_done: list[int] = []
    tickets: list[Ticket] = []

    def cancel_at_two(done: int, steps: int) -> None:
        steps_done.append(done)
        if done == 2:
            tickets[0].cancel()

    gate = Gate()
    bench.engine.submit(gate)
    tickets.append(bench.engine.submit(picture(steps=50), on_step=cancel_at_two))
    tickets.append(bench.engine.submit(picture(seed=2)))
    gate.open.set()
    with pytest.raises(Cancelled):
        tickets[0].future.result(WAIT)
    assert tickets[1].future.result(WAIT).shape == (64, 64, 3)
    assert steps_done == [1, 2]


def test_cancelling_a_finished_request_changes_nothing(bench: Bench) -> None:
    ticket = bench.engine.submit(picture())
    ticket.future.result(WAIT)
    ticket.cancel()
    assert ticket.future.result().shape == (64, 64, 3)


class NotANumber:
    """A task whose latents have gone wrong."""

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        latents = torch.full((1, 4, 8, 8), float("nan"))
        picture: np.ndarray[Any, Any] = yield Decode(latents)
        return picture


class Defective:
    """A task with a bug in it."""

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        yield Encode("a", 1)
        raise KeyError("a bug")


def break_the_callback(done: int, steps: int) -> None:
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
    assert good.future.result(WAIT).shape == (64, 64, 3)


def test_what_cannot_be_computed_in_a_batch_fails_only_those_it_concerns(bench: Bench) -> None:
    @dataclass(frozen=True)
    class WrongContext(Txt2Img):
        def run(self, model: Model, on_step: OnStep) -> TaskRun:
            story = super().run(model, on_step)
            work = next(story)
            while True:
                answer = yield work
                if isinstance(work, Encode):
                    answer = type(answer)(answer.context[:, :, :7])
                work = story.send(answer)

    fields = {name: getattr(picture(), name) for name in Txt2Img.__dataclass_fields__}
    tickets = bench.together([picture(seed=1), WrongContext(**fields), picture(seed=3)])
    assert isinstance(tickets[1].future.exception(WAIT), GenerationError)
    assert difference(tickets[0].future.result(WAIT), bench.alone(picture(seed=1))) <= 2
    assert difference(tickets[2].future.result(WAIT), bench.alone(picture(seed=3))) <= 2


def test_without_a_checkpoint_a_request_is_refused_and_a_bad_file_leaves_none() -> None:
    engine = Engine(device="cpu", max_batch=8, observer=RecordingObserver())
    engine.start()
    try:
        with pytest.raises(NotLoaded):
            engine.submit(picture()).future.result(WAIT)
        with pytest.raises(CheckpointError, match="absent"):
            engine.load(Path("/nowhere/absent.safetensors")).result(WAIT)
        with pytest.raises(NotLoaded):
            engine.submit(picture()).future.result(WAIT)
    finally:
        engine.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_fails_the_load(checkpoint_file: Path) -> None:
    engine = Engine(device="cuda", max_batch=8, observer=RecordingObserver())
    engine.start()
    try:
        with pytest.raises(DeviceError, match="no CUDA device"):
            engine.load(checkpoint_file).result(WAIT)
    finally:
        engine.close()


def test_a_load_waits_for_the_requests_before_it(bench: Bench, checkpoint_file: Path) -> None:
    finished: list[str] = []
    before = bench.engine.submit(picture(steps=8))
    before.future.add_done_callback(lambda future: finished.append("picture"))
    load = bench.engine.load(checkpoint_file)
    load.add_done_callback(lambda future: finished.append("load"))
    after = bench.engine.submit(picture())
    after.future.result(WAIT)
    assert finished == ["picture", "load"]
    assert load.result().family == "SD15"


def test_closing_settles_everything(checkpoint_file: Path) -> None:
    engine = Engine(device="cpu", max_batch=8, observer=RecordingObserver())
    engine.start()
    engine.load(checkpoint_file).result(WAIT)
    begun = threading.Event()
    running = engine.submit(picture(steps=10_000), on_step=lambda done, steps: begun.set())
    load = engine.load(checkpoint_file)
    queued = engine.submit(picture())
    assert begun.wait(WAIT)
    engine.close()
    late = engine.submit(picture())
    for future in (running.future, load, queued.future, late.future):
        with pytest.raises(Cancelled):
            future.result(WAIT)


@pytest.fixture
def own_engine(checkpoint_file: Path) -> Iterator[Engine]:
    """An engine that a test may spoil, with the tiny checkpoint resident."""
    engine = Engine(device="cpu", max_batch=8, observer=RecordingObserver())
    engine.start()
    engine.load(checkpoint_file).result(WAIT)
    yield engine
    engine.close()


def test_a_file_whose_header_is_at_fault_leaves_the_model_before_it_resident(
    own_engine: Engine, checkpoint_file: Path, tmp_path: Path
) -> None:
    before = own_engine.resident
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(checkpoint_file.read_bytes()[:-1])
    for path, told in ((truncated, "header promises"), (tmp_path / "absent.safetensors", "cannot be read")):
        with pytest.raises(CheckpointError, match=told):
            own_engine.load(path).result(WAIT)
        assert own_engine.resident is before
    assert own_engine.submit(picture()).future.result(WAIT).shape == (64, 64, 3)


def test_bytes_with_another_digest_than_the_wanted_are_not_loaded_and_no_model_is_left(
    own_engine: Engine, checkpoint_file: Path
) -> None:
    digest = hashlib.sha256(checkpoint_file.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"is {digest}, and {'0' * 64} is wanted"):
        own_engine.load(checkpoint_file, sha256="0" * 64).result(WAIT)
    assert own_engine.resident is None
    with pytest.raises(NotLoaded):
        own_engine.submit(picture()).future.result(WAIT)
    loaded = own_engine.load(checkpoint_file, sha256=digest).result(WAIT)
    assert own_engine.resident is loaded


def test_the_model_before_is_gone_from_memory_before_the_next_is_read(checkpoint_file: Path) -> None:
    rounds = Rounds(device_request="cpu", max_batch=8, observer=RecordingObserver())
    rounds.load(checkpoint_file, sha256=None, between=lambda: None)
    model = rounds._model
    assert model is not None
    networks = [weakref.ref(model.unet), weakref.ref(model.vae), weakref.ref(model.text)]
    del model
    left: list[object] = []
    rounds.load(checkpoint_file, sha256=None, between=lambda: left.extend(each() for each in networks))
    assert set(left) == {None}


def test_what_a_failed_load_had_read_is_gone_from_memory_too(
    own_engine: Engine, checkpoint_file: Path
) -> None:
    gc.disable()  # it may find the circle by chance
    try:
        error = weakref.ref(own_engine.load(checkpoint_file, sha256="0" * 64).exception(WAIT))
        own_engine.load(checkpoint_file).result(WAIT)
        assert error() is None
    finally:
        gc.enable()


class HeldPath(type(Path())):  # type: ignore[misc]
    """A file that is not opened until the test says so."""

    opening = threading.Event()
    go_on = threading.Event()

    def open(self, *args: Any, **options: Any) -> Any:
        self.opening.set()
        assert self.go_on.wait(WAIT)
        return super().open(*args, **options)


def test_closing_ends_a_load_under_way(checkpoint_file: Path) -> None:
    engine = Engine(device="cpu", max_batch=8, observer=RecordingObserver())
    engine.start()
    load = engine.load(HeldPath(checkpoint_file))
    assert HeldPath.opening.wait(WAIT)
    closing = threading.Thread(target=engine.close)
    closing.start()
    while not engine.submit(picture()).future.done():  # it is refused once closing has begun
        time.sleep(0.001)
    HeldPath.go_on.set()
    assert isinstance(load.exception(WAIT), Cancelled)
    closing.join(WAIT)
    assert not closing.is_alive()
