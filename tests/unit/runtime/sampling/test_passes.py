"""A whole pass, as tasks see it."""

from typing import Any

import pytest
import torch
import walked
from walked import DISCRETE, SHAPE

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.discrete import DiscreteSchedule
from sd_runtime.sampling import catalog, passes, schedules
from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.sampling.passes import SamplerPlan
from sd_runtime.sampling.settings import NoiseSettings, SamplingSettings

NAMES = [info.name for info in catalog.SAMPLERS]
SCHEDULES = [info.name for info in catalog.SCHEDULERS]


def plan(
    sampler: str = "Euler", scheduler: str = "automatic", steps: int = 20, **settings: Any
) -> SamplerPlan:
    return SamplerPlan(sampler, scheduler, steps, SamplingSettings(**settings))


def noise(**settings: Any) -> ImageNoise:
    return ImageNoise(NoiseSettings(**{"seed": 5, **settings}), SHAPE[1:], torch.device("cpu"), 8)


def drawn(plan: SamplerPlan, reports: list[int] | None = None, **settings: Any) -> torch.Tensor:
    report = (lambda done: None) if reports is None else reports.append
    return walked.end(passes.from_noise(plan, DISCRETE, noise(**settings), report))


def redrawn(
    plan: SamplerPlan, strength: float, reports: list[int] | None = None, **options: Any
) -> list[tuple[torch.Tensor, float]]:
    report = (lambda done: None) if reports is None else reports.append
    run = passes.from_latents(plan, DISCRETE, noise(), torch.ones(SHAPE), strength, report, **options)
    return list(walked.asked(run))


@pytest.mark.parametrize("sampler", NAMES)
@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_every_sampler_walks_every_schedule(sampler: str, scheduler: str) -> None:
    for steps in (1, 2, 21):
        chosen, reports = plan(sampler, scheduler, steps), list[int]()
        assert torch.isfinite(drawn(chosen, reports)).all()
        assert reports[-1] == passes.step_count(chosen, DISCRETE)


@pytest.mark.parametrize("sampler", NAMES)
@pytest.mark.parametrize("exact", [False, True])
def test_every_sampler_goes_part_of_the_way(sampler: str, exact: bool) -> None:
    for strength in (0.0, 0.02, 0.6, 1.0):
        chosen, reports = plan(sampler, steps=7), list[int]()
        *_, (end, _) = redrawn(chosen, strength, reports, exact_steps=exact)
        assert torch.isfinite(end).all()
        assert (reports or [0])[-1] == passes.step_count(chosen, DISCRETE, strength, exact)


@pytest.mark.parametrize("sampler", NAMES)
def test_the_same_pass_twice_gives_the_same_bytes(sampler: str) -> None:
    assert torch.equal(drawn(plan(sampler, steps=6)), drawn(plan(sampler, steps=6)))
    assert not torch.equal(drawn(plan(sampler, steps=6)), drawn(plan(sampler, steps=6), seed=6))


@pytest.mark.parametrize(
    ("sampler", "settings", "unit_variance"),
    [
        ("Euler", {}, False),
        ("Euler", {"sgm_noise_multiplier": True}, True),
        ("LCM", {}, False),
        ("DDIM", {}, True),
        ("DDIM CFG++", {}, True),
        ("PLMS", {}, True),
        ("UniPC", {}, True),
    ],
)
def test_a_pass_begins_with_noise_of_the_first_sigma(
    sampler: str, settings: dict[str, bool], unit_variance: bool
) -> None:
    x, sigma = next(passes.from_noise(plan(sampler, **settings), DISCRETE, noise(), lambda done: None))
    expected = (1 + sigma**2) ** 0.5 if unit_variance else sigma
    assert torch.allclose(x, noise().first() * expected)


@pytest.mark.parametrize(
    ("sampler", "first"),  # timesteps
    [("Euler", 999), ("LMS", 999), ("DDIM", 951), ("PLMS", 951), ("UniPC", 999), ("LCM", 999)],
)
def test_automatic_begins_where_the_sampler_does_by_itself(sampler: str, first: int) -> None:
    _, sigma = next(passes.from_noise(plan(sampler), DISCRETE, noise(), lambda done: None))
    assert DISCRETE.timestep(sigma) == pytest.approx(first)


@pytest.mark.parametrize(
    ("strength", "steps"), [(0.0, 1), (0.04, 1), (0.5, 11), (0.75, 16), (0.999, 20), (1.0, 20)]
)
def test_a_strength_takes_its_share_of_the_steps_and_one_more(strength: float, steps: int) -> None:
    assert passes.step_count(plan(), DISCRETE, strength) == steps
    asked = redrawn(plan(), strength)
    sigmas = schedules.build("uniform", 20, DISCRETE)
    assert [sigma for _, sigma in asked] == sigmas[-steps - 1 :]
    x, sigma = asked[0]
    assert torch.allclose(x, 1 + noise().first() * sigma)


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
def test_exact_steps_are_as_many_as_were_asked_for_from_the_same_level(strength: float) -> None:
    asked = redrawn(plan(), strength, exact_steps=True)
    assert len(asked) == 21
    (_, share), (_, exact) = redrawn(plan(), strength)[0], asked[0]
    assert DISCRETE.timestep(exact) == pytest.approx(DISCRETE.timestep(share), abs=60)


def test_exact_steps_of_no_strength_keep_the_latents() -> None:
    assert passes.step_count(plan(), DISCRETE, 0.0, exact_steps=True) == 0
    ((latents, _),) = redrawn(plan(), 0.0, exact_steps=True)
    assert torch.equal(latents, torch.ones(SHAPE))


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("strength", [1e-300, 1e-6, 0.004])
def test_a_tiny_strength_with_exact_steps_stays_within_bounds(scheduler: str, strength: float) -> None:
    count = passes.step_count(plan(scheduler=scheduler), DISCRETE, strength, exact_steps=True)
    assert 1 <= count <= 20


def test_the_noise_over_given_latents_is_multiplied() -> None:
    x, sigma = redrawn(plan(), 0.5, noise_multiplier=1.5)[0]
    assert torch.allclose(x, 1 + noise().first() * 1.5 * sigma)


@pytest.mark.parametrize(
    ("sampler", "settings", "discards"),
    [
        ("DPM2", {}, True),
        ("DPM2 a", {}, True),
        ("DPM++ 3M SDE", {}, True),
        ("Euler", {}, False),
        ("Euler", {"discard_penultimate": True}, True),
    ],
)
def test_a_discarded_level_is_made_up_for(sampler: str, settings: dict[str, bool], discards: bool) -> None:
    run = passes.from_noise(plan(sampler, "karras", 5, **settings), DISCRETE, noise(), lambda done: None)
    levels = {sigma for _, sigma in walked.asked(run)}
    last = schedules.build("karras", 6 if discards else 5, DISCRETE)[-3:-1]
    assert (last[0] in levels, last[1] in levels) == (True, not discards)
    assert passes.step_count(plan(sampler, "karras", 5, **settings), DISCRETE) == 5


@pytest.mark.parametrize(("sampler", "usual"), [("Euler a", 1.0), ("DPM++ SDE", 1.0), ("DDIM", 0.0)])
def test_eta_is_the_samplers_own_where_nobody_says(sampler: str, usual: float) -> None:
    assert torch.equal(drawn(plan(sampler)), drawn(plan(sampler, eta=usual)))
    assert not torch.equal(drawn(plan(sampler)), drawn(plan(sampler, eta=0.5)))


def test_the_seed_delta_changes_what_draws_noise_and_nothing_else() -> None:
    assert torch.equal(drawn(plan("Euler"), seed_delta=3), drawn(plan("Euler")))
    assert not torch.equal(drawn(plan("Euler a"), seed_delta=3), drawn(plan("Euler a")))


def test_dpm_fast_and_adaptive_end_at_the_models_least_noise_whatever_the_schedule() -> None:
    truth = torch.ones(SHAPE)
    for sampler in ("DPM fast", "DPM adaptive"):
        run = passes.from_noise(plan(sampler, "sgm_uniform", 12), DISCRETE, noise(), lambda done: None)
        end = walked.end(run, lambda x, sigma: Estimate(truth))
        assert float((end - truth).std()) < 2 * DISCRETE.sigma_min


@pytest.mark.parametrize("sampler", NAMES)
def test_a_model_trained_on_pure_noise_is_sampled_too(sampler: str) -> None:
    alphas = walked.DISCRETE.sigmas**2
    zero_terminal = DiscreteSchedule(1 / (1 + alphas * (4500.0 / alphas[-1] ** 0.5) ** 2))
    run = passes.from_noise(plan(sampler, steps=8), zero_terminal, noise(), lambda done: None)
    end = walked.end(run, lambda x, sigma: Estimate(x / (1 + sigma**2)))
    assert torch.isfinite(end).all()


@pytest.mark.parametrize("field", ["strength", "eta", "rho"])
def test_numbers_out_of_range_are_refused_by_name(field: str) -> None:
    with pytest.raises(UnsupportedError, match="denoising_strength" if field == "strength" else field):
        if field == "strength":
            redrawn(plan(), 1.5)
        else:
            drawn(plan("DPM++ 2M SDE", **{field: -1.0}))
