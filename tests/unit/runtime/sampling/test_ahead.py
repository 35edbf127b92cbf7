"""Noise that is drawn before it is asked for is the noise that would be drawn then."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from walked import DISCRETE, SHAPE, network, unit

from sd_runtime.sampling import catalog, passes, samplers, schedules
from sd_runtime.sampling.ahead import Ahead, rehearsed
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.sampling.passes import SamplerPlan
from sd_runtime.sampling.settings import NoiseSettings, NoiseSource, SamplingSettings
from sd_runtime.sampling.walking import Course

CHURN = SamplingSettings(s_churn=5.0, s_tmin=0.1, s_tmax=5.0)
FORESEEN = [info.name for info in catalog.SAMPLERS if not info.adaptive]
SLOW = [
    *((info.name, NoiseSource.CPU) for info in catalog.SAMPLERS if info.brownian),
    *((name, NoiseSource.NV) for name in ("Euler a", "DPM2 a", "DDIM CFG++", "LCM", "DPM fast")),
]


def last(walk: passes.Walk, before_each: Callable[[int], Any]) -> torch.Tensor:
    """The end of a walk; something is done while the network is thought to compute."""
    x, sigma = next(walk)
    for number in itertools.count():
        before_each(number)
        try:
            x, sigma = walk.send(network(x, sigma))
        except StopIteration as finished:
            latents: torch.Tensor = finished.value
            return latents
    raise AssertionError


@pytest.mark.parametrize("settings", [SamplingSettings(), SamplingSettings(eta=0.5), CHURN])
@pytest.mark.parametrize("steps", [1, 4, 21, 40])
@pytest.mark.parametrize("name", FORESEEN)
def test_a_rehearsal_tells_what_a_sampler_asks_for(name: str, steps: int, settings: SamplingSettings) -> None:
    asked: list[tuple[float, float]] = []

    def draw(sigma: float, after: float) -> torch.Tensor:
        asked.append((sigma, after))
        return unit(len(asked))

    sigmas = schedules.build("karras", steps, DISCRETE)
    reported: list[int] = []
    course = Course(
        sigmas=sigmas,
        sigma_min=DISCRETE.sigma_min,
        draw=draw,
        step_done=reported.append,
        settings=settings,
        eta=1.0 if settings.eta is None else settings.eta,
    )
    foretold = rehearsed(samplers.WALKS[name], course)
    assert (asked, reported) == ([], [])
    last(samplers.WALKS[name](unit() * sigmas[0], course), lambda number: None)
    assert foretold == asked


def drawn(name: str, source: NoiseSource, prepares: Callable[[int], bool]) -> tuple[torch.Tensor, int]:
    """Finished latents, and how many evaluations left the time to draw."""
    noise = ImageNoise(NoiseSettings(seed=5, source=source), SHAPE[1:], torch.device("cpu"), 8)
    walk = passes.from_noise(SamplerPlan(name, "karras", 12), DISCRETE, noise, lambda done: None)
    prepared = []

    def meanwhile(number: int) -> None:
        if prepares(number):
            assert noise.prepare is not None
            noise.prepare()
            prepared.append(number)

    return last(walk, meanwhile), len(prepared)


@pytest.mark.parametrize(("name", "source"), SLOW)
@pytest.mark.parametrize(
    "prepares",
    [lambda number: True, lambda number: number % 2, lambda number: number > 3],
    ids=["always", "now and then", "late"],
)
def test_no_number_changes_whenever_there_was_time_to_draw(
    name: str, source: NoiseSource, prepares: Callable[[int], bool]
) -> None:
    alone, none = drawn(name, source, lambda number: False)
    ahead, some = drawn(name, source, prepares)
    assert none == 0 < some
    assert torch.equal(ahead, alone)


def test_what_was_prepared_is_not_drawn_again_and_no_more_is_drawn_than_is_asked_for() -> None:
    ways = [(4.0, 2.0), (2.0, 1.0)]
    made: list[tuple[float, float]] = []

    def draw(sigma: float, after: float) -> torch.Tensor:
        made.append((sigma, after))
        return torch.full((1,), sigma)

    ahead = Ahead(draw, lambda: ways)
    for way in ways:
        ahead.prepare()
        ahead.prepare()
        assert made[-1] == way
        assert float(ahead(*way)) == way[0]
    ahead.prepare()
    assert made == ways


@pytest.mark.parametrize(
    ("name", "source"),
    [("Euler a", NoiseSource.CPU), ("DPM adaptive", NoiseSource.NV)],
    ids=["quick to draw", "nobody knows what is asked for"],
)
def test_what_is_quick_or_unknown_is_drawn_when_it_is_asked_for(name: str, source: NoiseSource) -> None:
    noise = ImageNoise(NoiseSettings(seed=5, source=source), SHAPE[1:], torch.device("cpu"), 8)
    passes.from_noise(SamplerPlan(name, "karras", 4), DISCRETE, noise, lambda done: None)
    assert noise.prepare is None
