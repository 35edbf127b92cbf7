"""One pass: texts, guidance, refiner, steps, coming to an end. Shown by txt2img, whose pass it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sd_runtime.adapters.uses import AdapterKind, AdapterUse
from sd_runtime.engine.work import Decode, Encode, EncodeImage, Evaluate, Interrupted, UseCheckpoint
from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.settings import TextSettings
from sd_runtime.sampling import SAMPLERS
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.recipe import Guided, Refiner
from sd_runtime.tasks.txt2img import Txt2Img
from tests.unit.runtime.tasks import bench
from tests.unit.runtime.tasks.bench import Bench

OTHER = Path("other.safetensors")


def task(*, width: int = 32, height: int = 16, seed: int = 1, **guided: Any) -> Txt2Img:
    settings = {"prompt": "a cat", "negative_prompt": "dogs", "steps": 4, **guided}
    return Txt2Img(guided=Guided(**settings), noise=NoiseSettings(seed=seed), width=width, height=height)


def play(engine: Bench, **guided: Any) -> list[Evaluate]:
    engine.run(task(**guided))
    return engine.of(Evaluate)


def prompts(evaluations: list[Evaluate]) -> list[str]:
    return [ask.conds[0][0].text for ask in evaluations]


def test_a_picture_is_what_the_text_draws():
    made = Bench().run(task(prompt="0.5", negative_prompt="0.25", cfg_scale=2.0, width=32, height=16))
    assert made.pixels.shape == (16, 32, 3)
    assert np.unique(made.pixels).tolist() == [round((0.75 + 1) * 127.5)]
    assert not made.interrupted


def test_each_text_is_encoded_once_with_the_settings_and_adapters_of_the_picture():
    text = TextSettings(clip_skip=2)
    uses = (AdapterUse(kind=AdapterKind.LORA, path=Path("x")),)
    engine = Bench()
    evaluations = play(engine, text=text, adapters=uses)
    assert engine.of(Encode) == [
        Encode("a cat", text, uses),
        Encode("dogs", text, uses, negative=True),
    ]
    assert len(evaluations) == 4
    assert all(ask.adapters == uses for ask in evaluations)


@pytest.mark.parametrize(
    ("prompt", "sampler", "drawn"),
    [
        ("[a:b:1]", "Euler", "aabb"),
        ("[a:b:0.75]", "Euler", "aaaa"),
        ("[a|b]", "Euler", "aaba"),
        ("[a:b:0.25]", "Heun", "aaabbbb"),
    ],
    ids=["a step", "a share", "alternating", "a share of a second-order sampler's evaluations"],
)
def test_a_schedule_is_followed_evaluation_by_evaluation(prompt, sampler, drawn):
    evaluations = play(Bench(), prompt=prompt, sampler=sampler)
    assert "".join(prompts(evaluations))[: len(drawn)] == drawn


def test_a_schedule_of_the_negative_prompt_is_followed_too_and_and_is_text_there():
    evaluations = play(Bench(), negative_prompt="[a AND b:c:1]")
    assert [ask.uncond.text for ask in evaluations] == ["a AND b", "a AND b", "c", "c"]


def test_texts_side_by_side_are_one_evaluation_with_a_weight_each():
    for ask in play(Bench(), prompt="a AND b :0.5"):
        assert [(text.text, weight) for text, weight in ask.conds] == [("a", 1.0), ("b", 0.5)]


@pytest.mark.parametrize(
    ("prompt", "scale", "guided"),
    [("a", 7.0, True), ("a", 1.0, False), ("a:0.5 AND b:0.5", 1.0, False), ("a AND b", 1.0, True)],
    ids=["guidance", "a scale of 1", "weights that add up to 1", "weights that do not"],
)
def test_the_negative_prompt_is_left_out_where_it_cancels_out(prompt, scale, guided):
    engine = Bench()
    evaluations = play(engine, prompt=prompt, cfg_scale=scale)
    assert {ask.uncond is not None for ask in evaluations} == {guided}
    assert any(ask.negative for ask in engine.of(Encode)) == guided


def test_below_s_min_uncond_every_second_evaluation_goes_without_the_negative_prompt():
    evaluations = play(Bench(), s_min_uncond=1000.0, steps=5)
    assert [ask.uncond is None for ask in evaluations] == [False, True, False, True, False]
    assert [ask.cfg_scale for ask in evaluations] == [7.0, 1.0, 7.0, 1.0, 7.0]
    assert all(ask.uncond is not None for ask in play(Bench(), s_min_uncond=1e-6))


def test_cfg_pp_is_always_guided_by_a_twelfth_and_a_half_of_the_scale():
    evaluations = play(Bench(), sampler="DDIM CFG++", cfg_scale=12.5, s_min_uncond=1000.0)
    assert all(ask.uncond is not None for ask in evaluations)
    assert {ask.cfg_scale for ask in evaluations} == {1.0}


def test_steps_are_told_with_the_estimate():
    engine = Bench()
    play(engine, prompt="0.5", cfg_scale=1.0)
    assert [(step.done, step.of, step.part, step.parts) for step in engine.steps] == [
        (1, 4, 0, 1),
        (2, 4, 0, 1),
        (3, 4, 0, 1),
        (4, 4, 0, 1),
    ]
    assert all(torch.allclose(step.denoised, torch.tensor(0.5)) for step in engine.steps)


def test_told_to_end_it_returns_the_last_estimate():
    numbered = iter([0.0, 0.25, 0.5, 0.75])
    engine = Bench(interrupt_after=2, estimate=lambda ask: torch.full_like(ask.x, next(numbered)))
    made = engine.run(task())
    assert made.interrupted
    assert np.unique(made.pixels).tolist() == [round(1.25 * 127.5)]
    assert len(engine.of(Evaluate)) == 2


def test_told_to_end_before_the_first_estimate_it_has_no_picture():
    with pytest.raises(Interrupted):
        Bench(interrupt_after=0).run(task())


def test_the_textual_inversions_of_texts_are_told_once():
    made = Bench().run(task(prompt="a trigger AND trigger", negative_prompt="trigger"))
    assert made.embeddings == (("trigger", "abc"),)


class TestRefiner:
    def test_it_takes_over_where_so_much_of_the_noise_is_gone_and_encodes_texts_anew(self):
        engine = Bench(models={OTHER: bench.model(OTHER)})
        evaluations = play(engine, steps=10, refiner=Refiner(checkpoint=OTHER, switch_at=0.5))
        assert engine.of(UseCheckpoint) == [UseCheckpoint(OTHER)]
        own = [ask for ask in evaluations if ask.conds[0][0].checkpoint == bench.SERVED]
        theirs = evaluations[len(own) :]
        timestep = engine.model.discrete.timestep
        assert min(timestep(ask.sigma) for ask in own) > 499 > max(timestep(ask.sigma) for ask in theirs)
        assert {text.checkpoint for ask in theirs for text in (ask.conds[0][0], ask.uncond)} == {OTHER}
        assert engine.checkpoints[-1] == OTHER  # it decodes, too

    def test_one_that_is_the_checkpoint_itself_changes_nothing(self):
        engine = Bench()
        play(engine, refiner=Refiner(checkpoint=bench.SERVED, switch_at=0.0))
        assert engine.of(UseCheckpoint) == []

    @pytest.mark.parametrize(("family", "goes_on_with"), [("SD15", 1), ("SD21", 0)])
    def test_one_of_another_family_goes_on_without_the_adapters(self, family, goes_on_with):
        uses = (AdapterUse(kind=AdapterKind.LORA, path=Path("x")),)
        engine = Bench(models={OTHER: bench.model(OTHER, family=family)})
        play(engine, adapters=uses, refiner=Refiner(checkpoint=OTHER, switch_at=0.5))
        for kind in (Encode, Evaluate):
            first, last = engine.of(kind)[0], engine.of(kind)[-1]
            assert first.adapters == uses
            assert last.adapters == uses[:goes_on_with]

    def test_one_that_takes_latents_for_something_else_is_refused_by_name(self):
        engine = Bench(models={OTHER: bench.model(OTHER, latent_scale=0.13025)})
        with pytest.raises(UnsupportedError, match=r"refiner_checkpoint: .*other .* the latents of served"):
            play(engine, refiner=Refiner(checkpoint=OTHER, switch_at=0.5))


class TestInpaintingCheckpoint:
    def test_it_is_shown_that_all_is_masked(self):
        engine = Bench(model=bench.model(extra_channels=5))
        (first, *_) = play(engine)
        assert first.concat.shape == (1, 5, 2, 4)
        assert first.concat[:, 0].min() == 1
        (grey,) = engine.of(EncodeImage)
        assert np.unique(grey.pixels).tolist() == [128]

    def test_a_refiner_that_is_one_is_shown_it_from_there_on(self):
        engine = Bench(models={OTHER: bench.model(OTHER, extra_channels=5)})
        evaluations = play(engine, steps=10, refiner=Refiner(checkpoint=OTHER, switch_at=0.5))
        assert evaluations[0].concat is None
        assert evaluations[-1].concat.shape[1] == 5


def test_a_picture_whose_edges_meet_says_so_in_all_its_work():
    engine = Bench(model=bench.model(extra_channels=5))
    vae = Path("vae")
    engine.run(
        Txt2Img(
            guided=Guided(steps=2), noise=NoiseSettings(seed=1), width=16, height=16, tiling=True, vae=vae
        )
    )
    assert all(ask.tiling for ask in engine.of(Evaluate))
    assert all(work.tiling and work.vae == vae for work in engine.of(Decode) + engine.of(EncodeImage))


@pytest.mark.parametrize("sampler", [info.name for info in SAMPLERS])
def test_every_sampler_draws_the_picture_and_ends_with_the_step_that_was_foretold(sampler):
    engine = Bench()
    made = engine.run(task(prompt="0.5", negative_prompt="0.5", sampler=sampler, steps=12))
    assert np.abs(made.pixels.astype(int) - round(1.5 * 127.5)).max() <= 8
    assert engine.steps[-1].done == engine.steps[-1].of
