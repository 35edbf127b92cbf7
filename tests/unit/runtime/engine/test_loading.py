"""Loading: what is resident when, other checkpoints for single tasks, and the end of the engine."""

from __future__ import annotations

import gc
import hashlib
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from engine_bench import WAIT, Bench, RecordingObserver, difference, picture, running, settings

from sd_runtime.engine.loop import Engine
from sd_runtime.engine.rounds import Rounds
from sd_runtime.engine.work import Encode, Made, OnStep, TaskRun, UseCheckpoint
from sd_runtime.errors import Cancelled, CheckpointError, DeviceError, NotLoaded
from sd_runtime.models.library import Library
from sd_runtime.tasks.recipe import Hires, Refiner, Upscaler

if TYPE_CHECKING:
    from sd_runtime.models.network import Model


def test_without_a_checkpoint_a_request_is_refused_and_a_bad_file_leaves_none() -> None:
    engine = Engine(settings(), Library(()), RecordingObserver())
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
    engine = Engine(settings(device="cuda"), Library(()), RecordingObserver())
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
    engine = Engine(settings(), Library(()), RecordingObserver())
    engine.start()
    engine.load(checkpoint_file).result(WAIT)
    begun = threading.Event()
    running = engine.submit(picture(steps=10_000), on_step=lambda step: begun.set())
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
    engine = Engine(settings(), Library(()), RecordingObserver())
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
    assert own_engine.submit(picture()).future.result(WAIT).pixels.shape == (64, 64, 3)


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


def test_the_model_before_is_gone_from_memory_before_the_next_is_read(
    checkpoint_file: Path, other_file: Path
) -> None:
    rounds = Rounds(settings(), Library(()), RecordingObserver(), poke=lambda: None)
    rounds.load(checkpoint_file, sha256=None, between=lambda: None)
    model = rounds._residents.get(checkpoint_file)
    assert model is not None
    networks = [weakref.ref(model.unet), weakref.ref(model.vae), weakref.ref(model.text)]
    del model
    left: list[object] = []
    rounds.load(other_file, sha256=None, between=lambda: left.extend(each() for each in networks))
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
    engine = Engine(settings(), Library(()), RecordingObserver())
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


# --- other checkpoints


@pytest.fixture(scope="module")
def other_file(checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that draws otherwise."""
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint_file)
    bias = "model.diffusion_model.out.2.bias"
    weights[bias] = weights[bias] + 0.5
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    save_file(weights, path)
    return path


class Loads:
    """How often each file was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from sd_runtime.models import checkpoint

        self.names: list[str] = []
        load = checkpoint.load

        def counted(path: Path, *rest: Any, **more: Any) -> Any:
            self.names.append(path.stem)
            return load(path, *rest, **more)

        monkeypatch.setattr(checkpoint, "load", counted)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    return Loads(monkeypatch)


def test_a_task_may_name_another_checkpoint_and_the_others_keep_theirs(
    checkpoint_file: Path, other_file: Path
) -> None:
    with running(other_file) as bench:
        expected = bench.alone(picture())
    with running(checkpoint_file) as bench:
        own = bench.alone(picture())
        assert not np.array_equal(own, expected)
        tickets = bench.together([picture(), picture(checkpoint=other_file), picture()])
        first, foreign, last = (ticket.future.result(WAIT).pixels for ticket in tickets)
        assert np.array_equal(foreign, expected)
        assert np.abs(first.astype(int) - own).max() <= 2
        assert np.abs(last.astype(int) - own).max() <= 2
        loaded = tickets[1].loaded
        assert loaded is not None
        assert loaded.path == other_file
        assert loaded.sha256 == hashlib.sha256(other_file.read_bytes()).hexdigest()


def test_without_a_budget_one_checkpoint_is_in_memory_at_a_time(
    checkpoint_file: Path, other_file: Path, loads: Loads
) -> None:
    with running(checkpoint_file) as bench:
        for each in (other_file, None, other_file):
            bench.alone(picture(checkpoint=each, steps=1))
        bench.alone(picture(checkpoint=checkpoint_file, steps=1))
    assert loads.names == ["tiny", "other", "tiny", "other", "tiny"]


def test_within_the_budget_checkpoints_stay_and_those_not_used_for_longest_go_first(
    checkpoint_file: Path, other_file: Path, loads: Loads, tmp_path: Path
) -> None:
    third = tmp_path / "third.safetensors"
    shutil.copy(other_file, third)
    size = checkpoint_file.stat().st_size
    with running(checkpoint_file, checkpoint_bytes=int(2.5 * size)) as bench:
        for each in (other_file, None, other_file, None, third, None, other_file):
            bench.alone(picture(checkpoint=each, steps=1))
    assert loads.names == ["tiny", "other", "third", "other"]


class Refining:
    """Begins with one checkpoint and ends with another."""

    checkpoint: Path | None = None

    def __init__(self, second: Path) -> None:
        self.second = second
        self.used: list[str] = []

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        yield Encode("a")
        self.used.append(model.loaded.path.stem)
        model = yield UseCheckpoint(self.second)
        yield Encode("a")
        self.used.append(model.loaded.path.stem)
        return Made(np.zeros((8, 8, 3), np.uint8))


def test_many_tasks_that_change_their_checkpoint_in_the_midst_all_come_to_their_end(
    checkpoint_file: Path, other_file: Path, loads: Loads
) -> None:
    tasks = [Refining(other_file) for _ in range(5)]
    with running(checkpoint_file) as bench:
        tickets = bench.together([*tasks, picture(steps=2)])
        for ticket in tickets:
            ticket.future.result(WAIT)
    assert all(task.used == ["tiny", "other"] for task in tasks)
    # together, not one after the other; what came behind them needs the first again at most once
    assert len(loads.names) <= 3


def test_an_interrupted_picture_that_waits_for_another_checkpoint_is_made_with_its_own(
    checkpoint_file: Path, other_file: Path, loads: Loads
) -> None:
    refined = picture(steps=20, refiner=Refiner(checkpoint=other_file, switch_at=0.3))
    with running(checkpoint_file) as bench:
        stranger = bench.engine.submit(picture(steps=3000))
        waiting = bench.engine.submit(refined)
        while not (waiting.last_step and waiting.last_step.done > 2):
            time.sleep(0.001)
        time.sleep(0.5)  # by now it waits: the stranger uses the other checkpoint's place
        assert not waiting.future.done()
        waiting.interrupt()
        made = waiting.future.result(WAIT)
        assert made.interrupted
        assert made.pixels.shape == (64, 64, 3)
        assert not stranger.future.done()
        stranger.cancel()
    assert loads.names == ["tiny"]


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_a_second_pass_that_is_interrupted_while_it_waits_leaves_the_first_ones_picture(
    checkpoint_file: Path, other_file: Path, upscaler: str
) -> None:
    first = picture(steps=5)
    second = Hires(
        guided=first.guided,
        width=128,
        height=128,
        upscale_to=(128, 128),
        upscaler=Upscaler(name=upscaler),
        denoising_strength=0.6,
        checkpoint=other_file,
    )
    with running(checkpoint_file) as bench:
        stranger = bench.engine.submit(picture(steps=3000))
        waiting = bench.engine.submit(replace(first, hires=second))
        while not (waiting.last_step and waiting.last_step.done == 5):
            time.sleep(0.001)
        time.sleep(0.5)  # by now it waits: the stranger uses the other checkpoint's place
        waiting.interrupt()
        made = waiting.future.result(WAIT)
        assert made.interrupted
        stranger.cancel()
        assert difference(made.pixels, bench.alone(first)) <= 2


def test_a_checkpoint_that_cannot_be_loaded_fails_the_task_that_named_it_alone(
    checkpoint_file: Path, tmp_path: Path
) -> None:
    spoilt = tmp_path / "spoilt.safetensors"
    spoilt.write_bytes(checkpoint_file.read_bytes()[:-1])
    with running(checkpoint_file) as bench:
        tickets = bench.together([picture(), picture(checkpoint=spoilt), Refining(spoilt), picture()])
        for ticket in tickets[1:3]:
            assert isinstance(ticket.future.exception(WAIT), CheckpointError)
        for ticket in (tickets[0], tickets[3]):
            assert ticket.future.result(WAIT).pixels.shape == (64, 64, 3)


def test_a_file_at_fault_costs_neither_the_served_checkpoint_nor_anybodys_time(
    checkpoint_file: Path, tmp_path: Path, loads: Loads
) -> None:
    spoilt = tmp_path / "spoilt.safetensors"
    spoilt.write_bytes(b"not a checkpoint")
    with running(checkpoint_file) as bench:
        long = bench.engine.submit(picture(steps=2000))
        for path in (spoilt, tmp_path / "absent.safetensors", spoilt):
            error = bench.engine.submit(picture(checkpoint=path)).future.exception(WAIT)
            assert isinstance(error, CheckpointError)
            assert path.name in str(error)
        assert not long.future.done()
        long.cancel()
        bench.alone(picture(steps=1))
    assert loads.names == ["tiny"]


def test_the_budget_counts_what_networks_take_and_not_what_their_file_does(
    checkpoint_file: Path, tmp_path: Path, loads: Loads
) -> None:
    from safetensors.torch import load_file, save_file

    half = tmp_path / "half.safetensors"
    save_file({name: value.half() for name, value in load_file(checkpoint_file).items()}, half)
    size = checkpoint_file.stat().st_size
    with running(checkpoint_file, checkpoint_bytes=int(1.7 * size)) as bench:
        for each in (half, None):
            bench.alone(picture(checkpoint=each, steps=1))
    assert loads.names == ["tiny", "half", "tiny"]


def test_another_checkpoint_whose_file_was_replaced_is_read_again_and_the_served_one_is_not(
    checkpoint_file: Path, other_file: Path, tmp_path: Path, loads: Loads
) -> None:
    served, named = tmp_path / "served.safetensors", tmp_path / "named.safetensors"
    shutil.copy(checkpoint_file, served)
    shutil.copy(checkpoint_file, named)
    budget = 4 * checkpoint_file.stat().st_size
    with running(served, checkpoint_bytes=budget) as bench:
        before = bench.alone(picture(checkpoint=named))
        assert np.array_equal(before, bench.alone(picture()))
        for path in (served, named):
            shutil.copy(other_file, tmp_path / "new")
            (tmp_path / "new").replace(path)
        assert not np.array_equal(bench.alone(picture(checkpoint=named)), before)
        assert np.array_equal(bench.alone(picture()), before)
    assert loads.names == ["served", "named", "named"]


def test_a_file_that_changed_is_read_again_when_it_is_wished_for_again(
    checkpoint_file: Path, other_file: Path, tmp_path: Path, loads: Loads
) -> None:
    path = tmp_path / "changing.safetensors"
    shutil.copy(checkpoint_file, path)
    with running(path) as bench:
        before = bench.engine.load(path).result(WAIT)
        assert loads.names == ["changing"]
        shutil.copy(other_file, tmp_path / "new")
        (tmp_path / "new").replace(path)
        after = bench.engine.load(path).result(WAIT)
        assert before.sha256 != after.sha256
        assert loads.names == ["changing", "changing"]
