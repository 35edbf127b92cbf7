"""What holds for every sampler, whatever its solver."""

import math
from itertools import pairwise

import pytest
import torch
import walked
from walked import DISCRETE, SHAPE

from sd_runtime.sampling import catalog, samplers, schedules, second_order
from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.settings import SamplingSettings

KARRAS = schedules.build("karras", 24, DISCRETE)
#: Their last level is the least noise of the model, which stays in.
LEAVE_NOISE = {"DPM fast", "DPM adaptive"}
NO_SOLVERS_OF_THE_ODE = {"LCM", "DDIM CFG++"}
#: Evaluations of three steps, the last of them to 0.
EVALUATIONS = {
    "Heun": 5,
    "DPM2": 5,
    "DPM2 a": 5,
    "DPM++ 2S a": 5,
    "DPM++ SDE": 5,
    "Restart": 5,
    "PLMS": 4,
}


def gaussian(x: torch.Tensor, sigma: float) -> Estimate:
    """The ideal network where every picture is unit noise."""
    return Estimate(x / (1 + sigma**2))


@pytest.mark.parametrize("name", samplers.WALKS)
@pytest.mark.parametrize("steps", [1, 2, 3, 20, 37])
def test_steps_are_reported_in_order_up_to_the_number_that_was_foretold(name: str, steps: int) -> None:
    sigmas = schedules.build("karras", steps, DISCRETE)
    reports: list[int] = []
    walked.walk(name, sigmas, report=reports.append)
    assert reports[-1] == samplers.step_count(name, sigmas)
    assert all(before <= after for before, after in pairwise(reports))


@pytest.mark.parametrize("name", [name for name in samplers.WALKS if name != "DPM adaptive"])
def test_a_step_is_reported_after_its_evaluations(name: str) -> None:
    events: list[str] = []
    sigmas = [10.0, 5.0, 1.0, 0.0]
    course = walked.course(name, sigmas, report=lambda done: events.append(f"step {done}"))
    for _, sigma in walked.asked(samplers.WALKS[name](walked.unit() * 10, course)):
        if sigma:
            events.append("evaluation")
    assert events[-1] == "step 3"
    assert events.count("evaluation") == EVALUATIONS.get(name, 3)


@pytest.mark.parametrize("name", [name for name in samplers.WALKS if name not in LEAVE_NOISE])
def test_a_sampler_returns_what_a_perfect_network_says(name: str) -> None:
    truth = torch.full(SHAPE, 0.5)
    course = walked.course(name, [10.0, 3.0, 1.0, 0.0])
    end = walked.end(samplers.WALKS[name](walked.unit() * 10, course), lambda x, sigma: Estimate(truth))
    assert torch.allclose(end, truth, atol=1e-5)


@pytest.mark.parametrize("name", sorted(LEAVE_NOISE))
def test_a_sampler_that_ends_early_leaves_no_more_than_the_models_least_noise(name: str) -> None:
    truth = torch.full(SHAPE, 0.5)
    course = walked.course(name, KARRAS)
    start = truth + walked.unit() * KARRAS[0]
    end = walked.end(samplers.WALKS[name](start, course), lambda x, sigma: Estimate(truth))
    assert float((end - truth).std()) < DISCRETE.sigma_min * 1.2


@pytest.mark.parametrize("name", [name for name in samplers.WALKS if name not in NO_SOLVERS_OF_THE_ODE])
def test_without_fresh_noise_a_sampler_solves_the_ode(name: str) -> None:
    sigmas = schedules.build("karras", 100, DISCRETE)
    # Restart adds noise between its solutions of the ODE; below 20 steps it does not restart.
    sigmas = schedules.build("karras", 19, DISCRETE) if name == "Restart" else sigmas
    course = walked.course(name, sigmas, settings=SamplingSettings(eta=0.0))
    start = walked.unit() * math.hypot(1, sigmas[0])
    end = walked.end(samplers.WALKS[name](start, course), gaussian)
    assert torch.allclose(end, walked.unit(), atol=0.12, rtol=0.05)


@pytest.mark.parametrize(
    "name", [info.name for info in catalog.SAMPLERS if info.uses_eta and not info.needs_unguided]
)
def test_with_fresh_noise_a_sampler_keeps_the_variance_of_the_pictures(name: str) -> None:
    sigmas = schedules.build("exponential", 60, DISCRETE)
    ends = []
    for seed in range(8):
        course = walked.course(name, sigmas, seed=seed, settings=SamplingSettings(eta=1.0))
        start = walked.unit(seed + 100) * math.hypot(1, sigmas[0])
        ends.append(walked.end(samplers.WALKS[name](start, course), gaussian))
    assert float(torch.cat(ends).std()) == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("name", samplers.WALKS)
def test_a_network_that_is_not_a_number_ends_the_walk(name: str) -> None:
    course = walked.course(name, KARRAS)
    run = samplers.WALKS[name](walked.unit() * KARRAS[0], course)
    asked = list(walked.asked(run, lambda x, sigma: Estimate(torch.full(SHAPE, math.nan))))
    assert len(asked) < 100
    assert torch.isnan(asked[-1][0]).all()


def test_dpm_adaptive_ends_though_no_step_is_small_enough() -> None:
    def rough(x: torch.Tensor, sigma: float) -> Estimate:
        return Estimate(torch.where((x * 1e4).sin() > 0, 50.0, -50.0))

    course = walked.course("DPM adaptive", KARRAS)
    asked = list(walked.asked(samplers.WALKS["DPM adaptive"](walked.unit() * KARRAS[0], course), rough))
    assert 100 < len(asked) < 10_000


def test_s_churn_changes_the_picture_only_within_its_range() -> None:
    plain = walked.walk("Euler", KARRAS)
    out_of_range = SamplingSettings(s_churn=5, s_tmin=100, s_tmax=200)
    assert torch.equal(walked.walk("Euler", KARRAS, settings=out_of_range), plain)
    within = SamplingSettings(s_churn=5)
    assert float((walked.walk("Euler", KARRAS, settings=within) - plain).abs().max()) > 0.1


def test_restart_is_heuns_method_below_twenty_steps() -> None:
    sigmas = schedules.build("uniform", 19, DISCRETE)
    assert torch.equal(walked.walk("Restart", sigmas), walked.walk("Heun", sigmas))


@pytest.mark.parametrize(("steps", "returns"), [(20, 1), (35, 1), (36, 2), (60, 2)])
def test_restart_goes_back_from_a_tenth_to_two(steps: int, returns: int) -> None:
    sigmas = schedules.build("karras", steps, DISCRETE)
    path = second_order.restart_path(sigmas)
    back = [(after, later) for (_, after), (later, _) in pairwise(path) if later > after]
    assert (len(path), len(back)) == (steps, returns)
    for low, high in back:
        assert low == pytest.approx(0.1, rel=0.7)
        assert high == pytest.approx(2.0, rel=0.5)
    # Everywhere else one step begins where the last has ended, to the last digit.
    assert sum(later != after for (_, after), (later, _) in pairwise(path)) == returns


def test_cfgpp_is_ddim_where_nothing_guides() -> None:
    sigmas = schedules.build("ddim", 20, DISCRETE)
    assert torch.allclose(walked.walk("DDIM CFG++", sigmas), walked.walk("DDIM", sigmas), atol=1e-4)


def test_cfgpp_noises_the_guided_estimate_with_the_unguided_noise() -> None:
    # Algorithm 2 of arXiv:2406.08070, in its own terms: x of unit variance, alpha-bar for sigma.
    sigmas = schedules.build("ddim", 20, DISCRETE)
    alphas = [1 / (1 + sigma**2) for sigma in sigmas]
    x = walked.unit()
    for (alpha, after), sigma in zip(pairwise(alphas), sigmas, strict=False):
        unguided = predicted = walked.predict_noise(x / alpha**0.5, sigma)
        predicted = predicted * 0.8 + 0.1
        clean = (x - (1 - alpha) ** 0.5 * predicted) / alpha**0.5
        x = after**0.5 * clean + (1 - after) ** 0.5 * unguided

    def guided(scaled: torch.Tensor, sigma: float) -> Estimate:
        noise = walked.predict_noise(scaled, sigma)
        return Estimate(scaled - sigma * (noise * 0.8 + 0.1), scaled - sigma * noise)

    start = walked.unit() / alphas[0] ** 0.5
    run = samplers.WALKS["DDIM CFG++"](start, walked.course("DDIM CFG++", sigmas))
    assert torch.allclose(walked.end(run, guided), x, atol=1e-4)
