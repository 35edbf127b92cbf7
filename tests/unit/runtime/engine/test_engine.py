"""The engine as a whole, on a tiny real network: who shares what, and that nobody notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_bench import WAIT, Bench, Gate, difference, picture, running

from sd_runtime.engine.loop import Ticket
from sd_runtime.engine.work import Step
from sd_runtime.sampling import SAMPLERS


@pytest.fixture(scope="module")
def shared_bench(checkpoint_file: Path) -> Iterator[Bench]:
    with running(checkpoint_file, max_batch=16) as bench:
        yield bench


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    shared_bench.observer.calls.clear()
    return shared_bench


#: Fifteen strangers, no two alike in sampler, schedule, steps, guidance, texts and their lengths.
STRANGERS = [
    picture(sampler="Euler a", steps=9, seed=2),
    picture(sampler="Heun", steps=4, cfg_scale=9.0, seed=3),
    picture(sampler="DPM++ 2M", steps=7, cfg_scale=1.0, seed=4),
    picture(sampler="Euler", steps=12, prompt="a dog BREAK a house BREAK a tree", seed=5),
    picture(sampler="Heun", scheduler="exponential", steps=5, negative_prompt="ugly", seed=6),
    picture(sampler="Euler a", scheduler="sgm_uniform", steps=3, prompt="a [cat:dog:0.5] AND a tree", seed=7),
    picture(sampler="DPM++ 2M", scheduler="simple", steps=10, prompt="(blue:1.4) sky", clip_skip=2, seed=8),
    picture(sampler="DPM++ SDE", scheduler="karras", steps=5, seed=9),
    picture(sampler="DPM++ 3M SDE", scheduler="kl_optimal", steps=8, cfg_scale=2.0, seed=10),
    picture(sampler="UniPC", steps=6, negative_prompt="a tree " * 40, seed=11),
    picture(sampler="DDIM", steps=8, prompt="a [cat|dog] on a mat", seed=12),
    picture(sampler="LMS", scheduler="beta", steps=9, seed=13),
    picture(sampler="DPM2 a", scheduler="normal", steps=4, cfg_scale=12.0, seed=14),
    picture(sampler="Restart", steps=6, seed=15),
    picture(sampler="LCM", steps=4, cfg_scale=1.5, prompt="[[a]] ((very)) bright lamp", seed=16),
]
#: Its steps depend on what comes out of them, so that the least difference may change their number.
ADAPTIVE = {info.name for info in SAMPLERS if info.adaptive}


@pytest.mark.parametrize("sampler", [info.name for info in SAMPLERS if info.name not in ADAPTIVE])
def test_a_picture_is_the_same_alone_and_amid_fifteen_strangers(bench: Bench, sampler: str) -> None:
    task = picture(sampler=sampler, prompt="a green bird, " * 30, seed=99)
    alone = bench.alone(task)
    bench.observer.calls.clear()
    tickets = bench.together([*STRANGERS[:3], task, *STRANGERS[3:]])
    pictures = [ticket.future.result(WAIT).pixels for ticket in tickets]
    assert max(requests for _, requests in bench.observer.calls) == 16
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
    shared = [ticket.future.result(WAIT).pixels for ticket in bench.together(tasks)]
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

    def join(step: Step) -> None:
        if step.done == 2:
            tickets.append(bench.engine.submit(picture(seed=2, steps=3)))

    bench.engine.submit(picture(steps=6), on_step=join).future.result(WAIT)
    tickets[0].future.result(WAIT)
    assert bench.observer.calls == [(2, 1)] * 2 + [(4, 2)] * 3 + [(2, 1)]


def test_sizes_take_turns(bench: Bench) -> None:
    order: list[int] = []

    def note(size: int) -> Callable[[Step], None]:
        return lambda step: order.append(size)

    gate = Gate()
    bench.engine.submit(gate)
    assert gate.entered.wait(WAIT)
    tickets = [
        bench.engine.submit(picture(width=size, steps=3), on_step=note(size)) for size in (64, 96, 128)
    ]
    gate.open.set()
    shapes = [ticket.future.result(WAIT).pixels.shape for ticket in tickets]
    assert shapes == [(64, 64, 3), (64, 96, 3), (64, 128, 3)]
    assert order == [64, 96, 128] * 3


def test_more_than_a_batch_holds_is_served_in_turn(checkpoint_file: Path) -> None:
    with running(checkpoint_file, max_batch=2) as bench:
        for ticket in bench.together([picture(seed=seed, steps=4) for seed in range(3)]):
            ticket.future.result(WAIT)
        assert bench.observer.calls == [(4, 2)] * 6


def test_a_measured_batch_makes_the_same_pictures(bench: Bench, checkpoint_file: Path) -> None:
    tasks = [picture(seed=seed) for seed in range(6)]
    alone = [bench.alone(task) for task in tasks]
    with running(checkpoint_file, measured_batch=True) as other:
        for expected, ticket in zip(alone, other.together(tasks), strict=True):
            assert difference(expected, ticket.future.result(WAIT).pixels) <= 2


def test_steps_are_reported_in_order(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []
    bench.engine.submit(
        picture(sampler="Heun", steps=3), on_step=lambda step: seen.append((step.done, step.of))
    ).future.result(WAIT)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_preview_shows_where_a_picture_stands(bench: Bench) -> None:
    asked: list[Any] = []
    tickets: list[Ticket] = []

    def ask(step: Step) -> None:
        if step.done == 3:
            asked.append(bench.engine.preview(tickets[0]))

    gate = Gate()
    bench.engine.submit(gate)
    tickets.append(bench.engine.submit(picture(steps=6), on_step=ask))
    assert bench.engine.preview(tickets[0]).done() is False
    gate.open.set()
    tickets[0].future.result(WAIT)
    seen = asked[0].result(WAIT)
    assert seen.dtype == np.uint8
    assert seen.shape[2] == 3
    assert seen.std() > 0
    assert bench.engine.preview(tickets[0]).result(WAIT) is None  # it is finished
