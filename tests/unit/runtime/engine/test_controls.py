"""ControlNets in the batch: each picture has its own, in the way and for the steps that it asks for, whoever
its neighbours are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import control_bench
import numpy as np
import pytest
import torch
from control_bench import HEIGHT, WIDTH, Recorded, control, latents_of, map_of
from engine_bench import WAIT, Bench, difference, picture, running

from sd_runtime.engine.work import Evaluate
from sd_runtime.tasks import control_maps
from sd_runtime.tasks.control import Control, ControlMode, Hint
from sd_runtime.tasks.recipe import Hires, ResizeMode, Upscaler

#: Convolutions of another number of rows round otherwise.
ROUNDING = 1


@pytest.fixture(scope="module")
def files(networks: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("controlnets")
    return [
        control_bench.file(control_bench.network(networks[0], seed), folder / f"net{seed}.safetensors")
        for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def bench(checkpoint_file: Path) -> Iterator[Bench]:
    with running(checkpoint_file, max_batch=16) as bench:
        yield bench


def task(*controls: Control, **changes: Any) -> Any:
    chosen: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "steps": 4, **changes}
    tiling = chosen.pop("tiling", False)
    return replace(picture(**chosen), controls=controls, tiling=tiling)


KINDS: dict[str, Any] = {
    "one": lambda a, b: task(control(a)),
    "another map": lambda a, b: task(control(a, 6)),
    "another network": lambda a, b: task(control(b)),
    "two networks": lambda a, b: task(control(a), control(b, 6, weight=0.5)),
    "a network twice": lambda a, b: task(control(a, 6), control(a, 7, weight=0.5)),
    "less weight": lambda a, b: task(control(a, weight=0.3)),
    "the prompt's mode": lambda a, b: task(control(a, mode=ControlMode.PROMPT)),
    "the ControlNet's mode": lambda a, b: task(control(a, mode=ControlMode.CONTROL)),
    "the first half": lambda a, b: task(control(a, end=0.5)),
    "no guidance": lambda a, b: task(control(a), cfg_scale=1.0),
    "no guidance, the ControlNet's mode": lambda a, b: task(
        control(a, mode=ControlMode.CONTROL), cfg_scale=1.0
    ),
    "two texts": lambda a, b: task(control(b), prompt="a red cat AND a blue dog :0.7"),
    "half of the negative prompts": lambda a, b: task(control(a), s_min_uncond=4.0),
    "a part of the picture": lambda a, b: task(control(a, mask=np.eye(64, dtype=np.uint8) * 255)),
    "a part hidden": lambda a, b: task(control(a, blank=np.tri(HEIGHT, WIDTH, dtype=np.uint8) * 255)),
}


def test_each_picture_of_a_batch_is_what_it_is_alone(bench: Bench, files: list[Path]) -> None:
    tasks = [kind(*files) for kind in KINDS.values()]
    tasks.insert(3, task(seed=2))
    alone = [bench.alone(each) for each in tasks]
    bench.observer.calls.clear()
    together = [ticket.future.result(WAIT).pixels for ticket in bench.together(tasks)]
    # Who waits for a map comes a call later.
    assert max(requests for _, requests in bench.observer.calls) > len(tasks) - 4
    for ours, theirs in zip(together, alone, strict=True):
        assert difference(ours, theirs) <= ROUNDING


def test_each_kind_is_a_picture_of_its_own(bench: Bench, files: list[Path]) -> None:
    tasks = {name: kind(*files) for name, kind in KINDS.items()} | {"none": task()}
    drawn = [(name, latents_of(bench, each)) for name, each in tasks.items()]
    for index, (name, one) in enumerate(drawn):
        for other_name, other in drawn[:index]:
            assert float((one - other).abs().max()) > 0.05, (name, other_name)


def evaluations(bench: Bench, asked: Any) -> list[Evaluate]:
    recorded, seen = Recorded(asked), list[Evaluate]()
    recorded.on_work = lambda work: seen.append(work) if isinstance(work, Evaluate) else None
    bench.alone(recorded)
    return seen


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [
        (0.0, 1.0, [0, 1, 2, 3, 4]),
        (0.0, 0.4, [0, 1]),
        (0.4, 1.0, [2, 3, 4]),
        (0.3, 1.0, [2, 3, 4]),  # a step that is begun before it is not its own
        (0.0, 0.5, [0, 1]),  # nor is one that ends behind it
        (0.5, 0.5, [2]),  # where none is whole, the one in which it begins
    ],
)
def test_it_takes_part_in_the_steps_between_start_and_end(
    bench: Bench, files: list[Path], start: float, end: float, steps: list[int]
) -> None:
    seen = evaluations(bench, task(control(files[0], start=start, end=end), steps=5))
    assert [step for step, work in enumerate(seen) if work.controls] == steps


def test_both_evaluations_of_a_step_of_second_order_have_it(bench: Bench, files: list[Path]) -> None:
    seen = evaluations(bench, task(control(files[0], end=0.5), steps=4, sampler="Heun"))
    assert [bool(work.controls) for work in seen] == [True] * 4 + [False] * 3


def test_one_without_weight_is_none(bench: Bench, tmp_path: Path) -> None:
    asked = task(control(tmp_path / "missing.safetensors", weight=0))
    assert difference(bench.alone(asked), bench.alone(task())) == 0


def test_halves_of_the_way_are_together_not_the_same_as_either(bench: Bench, files: list[Path]) -> None:
    whole, early, late, none = (
        latents_of(bench, each)
        for each in (
            task(control(files[0])),
            task(control(files[0], end=0.5)),
            task(control(files[0], start=0.5)),
            task(),
        )
    )
    assert float((early - late).abs().max()) > 0.01
    for part in (early, late):
        assert float((part - whole).abs().max()) > 0.01
        assert float((part - none).abs().max()) > 0.01


def test_a_black_mask_leaves_nothing(bench: Bench, files: list[Path]) -> None:
    nowhere = task(control(files[0], mask=np.zeros((8, 8), np.uint8)))
    assert difference(bench.alone(nowhere), bench.alone(task())) == 0


def _moved(bench: Bench, path: Path, by: int, *, tiling: bool) -> torch.Tensor:
    """The first estimate, of noise and a map that are moved to the right by so many pixels."""
    moved = np.roll(map_of(5), by, axis=1)
    asked = Shifted(task(Control(network=path, hint=Hint(moved.copy)), steps=1, tiling=tiling), by // 8)
    bench.alone(asked)
    estimate: torch.Tensor = asked.seen[0].denoised
    return estimate


@pytest.mark.parametrize("tiling", [True, False])
def test_a_map_wraps_around_where_the_picture_does(bench: Bench, files: list[Path], tiling: bool) -> None:
    still, moved = (_moved(bench, files[0], by, tiling=tiling) for by in (0, WIDTH // 2))
    assert torch.allclose(torch.roll(still, WIDTH // 16, dims=3), moved, atol=1e-2) is tiling


class Shifted:
    """A task whose noise is moved to the right by so many latents."""

    checkpoint = None

    def __init__(self, task: Any, by: int) -> None:
        self._task, self._by = task, by
        self.seen: list[Any] = []

    def run(self, model: Any, on_step: Any) -> Any:
        story, answer = self._task.run(model, on_step), None
        while True:
            try:
                work = story.send(answer)
            except StopIteration as finished:
                return finished.value
            if isinstance(work, Evaluate):
                work = replace(work, x=torch.roll(work.x, self._by, dims=3))
                answer = yield work
                self.seen.append(answer)
            else:
                answer = yield work


def hires(*controls: Control, checkpoint: Path | None = None) -> Any:
    first = task(*controls)
    second = Hires(
        guided=first.guided,
        width=2 * WIDTH,
        height=2 * HEIGHT,
        upscale_to=(2 * WIDTH, 2 * HEIGHT),
        upscaler=Upscaler(name="Latent"),
        denoising_strength=0.5,
        checkpoint=checkpoint,
    )
    return replace(first, hires=second)


@pytest.mark.parametrize(
    ("changes", "first", "second"),
    [
        ({}, True, True),
        ({"second_pass": False}, True, False),
        ({"first_pass": False}, False, True),
    ],
)
def test_hires_fix_has_it_in_the_passes_that_it_is_for(
    bench: Bench, files: list[Path], changes: dict[str, bool], first: bool, second: bool
) -> None:
    seen = evaluations(bench, hires(control(files[0], **changes)))
    small = [bool(work.controls) for work in seen if work.x.shape[2] == HEIGHT // 8]
    large = [bool(work.controls) for work in seen if work.x.shape[2] == HEIGHT // 4]
    assert set(small) == {first}
    assert set(large) == {second}


def test_the_second_pass_can_be_soft_in_any_mode(bench: Bench, files: list[Path]) -> None:
    seen = evaluations(bench, hires(control(files[0], soft_second_pass=True)))
    assert {(work.x.shape[2] == HEIGHT // 4, work.controls[0].soft) for work in seen} == {
        (True, True),
        (False, False),
    }


def test_a_map_is_asked_for_once_by_all_pictures(bench: Bench, files: list[Path]) -> None:
    asked: list[None] = []

    def make() -> np.ndarray[Any, Any]:
        asked.append(None)
        return map_of(5)

    hint = Hint(make)
    tasks = [task(Control(network=files[0], hint=hint), seed=seed) for seed in range(4)]
    for ticket in bench.together(tasks):
        ticket.future.result(WAIT)
    assert len(asked) == 1


def test_a_map_is_brought_to_a_size_once_by_all_pictures(
    bench: Bench, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, fit = list[tuple[int, int]](), control_maps.fit

    def counted(pixels: Any, size: tuple[int, int], *rest: Any, **more: Any) -> Any:
        fitted.append(size)
        time.sleep(0.1)  # long enough for all to ask
        return fit(pixels, size, *rest, **more)

    monkeypatch.setattr(control_maps, "fit", counted)
    hint = Hint(lambda: map_of(5, width=32, height=32))
    tasks = [task(Control(network=files[0], hint=hint), seed=seed) for seed in range(4)]
    for ticket in bench.together(tasks):
        ticket.future.result(WAIT)
    assert fitted == [(WIDTH, HEIGHT)]


def test_a_map_that_cannot_be_made_fails_its_own_picture_alone(bench: Bench, files: list[Path]) -> None:
    def fail() -> Any:
        raise OSError("no such map")

    broken = task(Control(network=files[0], hint=Hint(fail), resize_mode=ResizeMode.FILL))
    tickets = bench.together([broken, task(control(files[0]))])
    assert "no such map" in str(tickets[0].future.exception(WAIT))
    assert difference(tickets[1].future.result(WAIT).pixels, bench.alone(task(control(files[0])))) <= ROUNDING
