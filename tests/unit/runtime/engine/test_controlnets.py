"""Which ControlNets stay in memory; files that are changed, broken, for other checkpoints, or too large; and
what is waited for apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import control_bench
import pytest
import tiny_sdxl
import torch
from control_bench import control
from engine_bench import WAIT, Bench, difference, picture, running

from sd_runtime import device
from sd_runtime.engine.controlnets import ControlNets
from sd_runtime.engine.memory import NoMeter
from sd_runtime.engine.work import Apart, Made, Unneeded
from sd_runtime.errors import CheckpointUnavailable, GenerationError, UnsupportedError
from sd_runtime.models import controlnet
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model
from sd_runtime.tasks.control import Control, Hint


@pytest.fixture(scope="module")
def nets(networks: tuple[Any, Any, Any]) -> list[Any]:
    return [control_bench.network(networks[0], seed) for seed in (1, 2, 3)]


@pytest.fixture
def files(nets: list[Any], tmp_path: Path) -> list[Path]:
    return [control_bench.file(net, tmp_path / f"net{i}.safetensors") for i, net in enumerate(nets)]


class Machine:
    """Reads files, and writes down which; its memory may have no room for some."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.runs_out = 0

    def plan_controlnet(self, path: Path, model: Model) -> Any:
        plan = controlnet.examine(path, model, allow_pickles=False)
        return plan, plan.footprint(model.device)

    def load_controlnet(self, plan: Any) -> Any:
        self.loaded.append(plan.file.path.stem)
        if self.runs_out:
            self.runs_out -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return controlnet.load(plan, device.choose("cpu"), DigestCache())


class Kept:
    """A cache with room for so many networks of the same size."""

    def __init__(self, model: Model, room: float, size: int) -> None:
        self.machine = Machine()
        self.nets = ControlNets(int(room * size), self.machine)  # type: ignore[arg-type]
        self._model = model

    def get(self, path: Path, *in_use: Any) -> Any:
        return self.nets.get(path, self._model, set(in_use), NoMeter())


@pytest.fixture
def size(nets: list[Any]) -> int:
    return sum(value.nbytes for value in nets[0].parameters())


def test_the_one_that_was_used_longest_ago_goes(model: Model, files: list[Path], size: int) -> None:
    kept = Kept(model, 2.5, size)
    for path in (files[0], files[1], files[0], files[2], files[0], files[1]):
        kept.get(path)
    assert kept.machine.loaded == ["net0", "net1", "net2", "net1"]
    assert kept.nets.nbytes <= 2.5 * size


def test_what_a_file_is_said_to_take_is_what_it_takes(model: Model, files: list[Path], size: int) -> None:
    kept = Kept(model, 9, size)
    kept.get(files[0])
    assert kept.nets.nbytes == size == kept.machine.plan_controlnet(files[0], model)[1]


def test_one_in_use_stays_and_goes_when_it_is_not(model: Model, files: list[Path], size: int) -> None:
    kept = Kept(model, 1.5, size)
    first = kept.get(files[0])
    second = kept.get(files[1], first)
    assert kept.get(files[0], first, second) is first
    assert kept.nets.nbytes == 2 * size
    kept.nets.trim({first})
    assert kept.nets.nbytes == size
    assert kept.get(files[0]) is first


def test_without_room_only_those_in_use_are_there(model: Model, files: list[Path], size: int) -> None:
    kept = Kept(model, 0, size)
    kept.get(files[0])
    kept.nets.trim(())
    assert kept.nets.nbytes == 0


def test_a_file_with_other_bytes_is_read_again(model: Model, files: list[Path], size: int) -> None:
    kept = Kept(model, 9, size)
    before = kept.get(files[0])
    files[1].replace(files[0])
    assert kept.get(files[0]) is not before
    assert kept.machine.loaded == ["net0", "net0"]


def test_two_names_of_one_file_are_two_networks_where_the_names_say_something_else(
    model: Model, files: list[Path], size: int
) -> None:
    kept = Kept(model, 9, size)
    (shuffle := files[0].with_name("a-Shuffle.safetensors")).hardlink_to(files[0])
    (other := files[0].with_name("another.safetensors")).hardlink_to(files[0])
    plain = kept.get(files[0])
    assert (plain.pools, kept.get(shuffle).pools, kept.get(other)) == (False, True, plain)


def test_where_memory_runs_out_those_that_nobody_uses_make_room(
    model: Model, files: list[Path], size: int
) -> None:
    kept = Kept(model, 9, size)
    used = kept.get(files[0])
    kept.get(files[1])
    kept.machine.runs_out = 1
    third = kept.get(files[2], used)
    assert kept.nets.nbytes == 2 * size
    assert kept.get(files[2]) is third
    assert kept.get(files[0]) is used


def test_one_that_does_not_fit_even_so_is_told_of(model: Model, files: list[Path], size: int) -> None:
    kept = Kept(model, 9, size)
    kept.machine.runs_out = 2
    with pytest.raises(GenerationError, match=r"too small for the ControlNet net0\.safetensors"):
        kept.get(files[0])
    kept.get(files[0])


def test_a_file_that_is_gone_may_come_back(model: Model, tmp_path: Path, size: int) -> None:
    with pytest.raises(CheckpointUnavailable, match="gone"):
        Kept(model, 9, size).get(tmp_path / "gone.safetensors")


@pytest.fixture(scope="module")
def bench(checkpoint_file: Path) -> Iterator[Bench]:
    with running(checkpoint_file) as bench:
        yield bench


def task(*controls: Control) -> Any:
    return replace(picture(width=96, steps=4), controls=controls)


def test_a_broken_file_fails_only_its_own_picture(bench: Bench, files: list[Path]) -> None:
    alone = bench.alone(task(control(files[0])))
    files[1].write_bytes(files[1].read_bytes()[:-1000])
    broken, other, none = bench.together([task(control(files[1])), task(control(files[0])), task()])
    error = broken.future.exception(WAIT)
    assert isinstance(error, UnsupportedError)
    assert "model: 'net1' is not supported" in str(error)
    assert difference(other.future.result(WAIT).pixels, alone) <= 1
    none.future.result(WAIT)


def test_one_for_another_family_is_refused_with_both_named(bench: Bench, tmp_path: Path) -> None:
    net = control_bench.network(tiny_sdxl.base()["unet"], 4)
    path = control_bench.file(net, tmp_path / "xl.safetensors")
    error = bench.engine.submit(task(control(path))).future.exception(WAIT)
    assert isinstance(error, UnsupportedError)
    assert "SDXL" in str(error)
    assert "SD15" in str(error)


def test_what_is_wrong_with_a_file_is_told_of_the_unit_that_names_it(
    bench: Bench, files: list[Path], tmp_path: Path
) -> None:
    other = control_bench.file(
        control_bench.network(tiny_sdxl.base()["unet"], 4), tmp_path / "xl.safetensors"
    )
    files[1].write_bytes(files[1].read_bytes()[:-1000])
    for path in (files[1], other):
        good, bad = control(files[0], field="args.0.model"), control(path, field="args.1.model")
        error = bench.engine.submit(task(good, bad)).future.exception(WAIT)
        assert str(error).startswith(f"args.1.model: '{path.stem}")


def test_values_that_are_not_numbers_are_told_with_the_controlnets_that_took_part(
    bench: Bench, nets: list[Any], files: list[Path], tmp_path: Path
) -> None:
    weights = {name: torch.full_like(value, float("nan")) for name, value in nets[0].state_dict().items()}
    path = control_bench.save(weights, tmp_path / "nan.safetensors")
    error = bench.engine.submit(task(control(files[0]), control(path))).future.exception(WAIT)
    assert isinstance(error, GenerationError)
    assert "not finite numbers" in str(error)
    assert str(error).endswith("a ControlNet that took part may be the cause, of these: net0, nan")


def test_a_picture_keeps_the_bytes_that_it_began_with(bench: Bench, files: list[Path]) -> None:
    before = bench.alone(task(control(files[0])))

    def replace_it(progress: Any) -> None:
        if progress.done == 1:
            files[1].replace(files[0])

    ticket = bench.engine.submit(task(control(files[0])), on_step=replace_it)
    assert difference(ticket.future.result(WAIT).pixels, before) == 0
    assert difference(bench.alone(task(control(files[0]))), before) > 1


class Asks:
    """Asks for this to be done apart."""

    checkpoint = Unneeded.CHECKPOINT

    def __init__(self, work: Apart) -> None:
        self.work = work

    def run(self, model: Any, on_step: Any) -> Any:
        return Made((yield self.work))


def test_who_asks_for_the_same_apart_shares_one_call(bench: Bench) -> None:
    asked, key, leave = list[int](), object(), threading.Event()

    def call() -> Any:
        asked.append(1)
        assert leave.wait(WAIT)
        return control_bench.map_of(1)

    tickets = bench.together([Asks(Apart(call, key)) for _ in range(3)])
    other = bench.engine.submit(Asks(Apart(lambda: control_bench.map_of(2), object())))
    assert other.future.result(WAIT).pixels is not None  # nobody waits for the threads of others
    leave.set()
    answers = [ticket.future.result(WAIT).pixels for ticket in tickets]
    assert len(asked) == 1
    assert answers[0] is answers[1] is answers[2]


def test_more_wait_apart_than_there_are_threads_for_other_work(bench: Bench) -> None:
    together = threading.Barrier(8, timeout=WAIT)
    tickets = [
        bench.engine.submit(Asks(Apart(lambda: together.wait() and control_bench.map_of(1), object())))
        for _ in range(8)
    ]
    for ticket in tickets:
        ticket.future.result(WAIT)


def test_what_a_call_apart_raises_fails_all_who_share_it(bench: Bench) -> None:
    def call() -> Any:
        raise UnsupportedError("module", "canny", "others")

    hint = Hint(call)
    for ticket in bench.together([Asks(Apart(hint.get, hint)) for _ in range(2)]):
        assert isinstance(ticket.future.exception(WAIT), UnsupportedError)
