"""Pictures from prompts: what is refused, and the second pass. (The first one: test_denoising.)"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sd_runtime.engine.work import Decode, EncodeImage, Evaluate, Upscale, UseCheckpoint
from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks import enlarging
from sd_runtime.tasks.recipe import Guided, Hires, Refiner, Upscaler
from sd_runtime.tasks.txt2img import Txt2Img
from tests.unit.runtime.tasks import bench
from tests.unit.runtime.tasks.bench import Bench

OTHER = Path("other.safetensors")
LATENT = Upscaler(name="Latent")
LANCZOS = Upscaler(name="Lanczos")


def hires(**changes: Any) -> Hires:
    fields: dict[str, Any] = {
        "guided": Guided(prompt="0.5", steps=3, cfg_scale=1.0),
        "width": 64,
        "height": 32,
        "upscale_to": (64, 32),
        "upscaler": LATENT,
        "denoising_strength": 0.5,
        **changes,
    }
    return Hires(**fields)


def task(**changes: Any) -> Txt2Img:
    fields: dict[str, Any] = {
        "guided": Guided(prompt="0.25", steps=4, cfg_scale=1.0),
        "noise": NoiseSettings(seed=1),
        "width": 32,
        "height": 16,
        **changes,
    }
    return Txt2Img(**fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 65}, "width: 65 .* multiples of 8"),
        ({"height": 0}, "height: 0 "),
        ({"noise": NoiseSettings(seed=-1)}, "seed: -1 "),
        ({"noise": NoiseSettings(seed=1, subseed=2**64)}, "subseed: 18446744073709551616 "),
        ({"noise": NoiseSettings(seed=1, subseed_strength=2)}, "subseed_strength: 2 .* 0 to 1"),
        ({"noise": NoiseSettings(seed=1, resize_from=(512, 0))}, "seed_resize_from_h: 0 "),
        ({"guided": Guided(prompt="(" * 500)}, "^prompt: "),
        ({"guided": Guided(negative_prompt="(" * 500)}, "^negative_prompt: "),
        ({"guided": Guided(s_min_uncond=-1)}, "s_min_uncond: -1 "),
        ({"guided": Guided(refiner=Refiner(checkpoint=OTHER, switch_at=1.5))}, "refiner_switch_at: 1.5 "),
        ({"hires": hires(guided=Guided(prompt="(" * 500))}, "^hr_prompt: "),
        ({"hires": hires(width=60)}, "hires width: 60 "),
        ({"hires": hires(denoising_strength=1.5)}, "denoising_strength: 1.5 "),
        ({"hires": hires(upscale_to=(56, 32))}, r"upscale_to: \(56, 32\) .* 64x32 or more"),
        ({"hires": hires(upscaler=Upscaler(name="Latent (odd)"))}, "hr_upscaler: .* Lanczos"),
        ({"first_pass": np.zeros((8, 8, 3), dtype=np.uint8)}, "firstpass_image: .* enable_hr"),
    ],
)
def test_a_bad_value_is_refused_on_construction_by_name(changes: dict[str, Any], message: str) -> None:
    task(hires=hires())
    with pytest.raises(UnsupportedError, match=message):
        task(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: 0 .* 1 or more"),
        ({"cfg_scale": float("nan")}, "cfg_scale: nan .* finite"),
        ({"sampler": "Duler"}, "sampler: 'Duler' .* Euler a"),
        ({"scheduler": "none"}, "scheduler: 'none' .* karras"),
    ],
)
def test_what_a_pass_cannot_be_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Guided(**changes)


class TestSecondPass:
    @pytest.mark.parametrize("name", enlarging.LATENT)
    def test_latents_are_enlarged_as_they_are(self, name):
        engine = Bench()
        made = engine.run(task(hires=hires(upscaler=Upscaler(name=name))))
        assert made.pixels.shape == (32, 64, 3)
        assert np.unique(made.pixels).tolist() == [round(1.5 * 127.5)]
        assert engine.of(EncodeImage) == []
        assert len(engine.of(Decode)) == 1

    @pytest.mark.parametrize("name", enlarging.PLAIN)
    def test_or_the_picture_is_decoded_enlarged_and_encoded_again(self, name):
        engine = Bench()
        made = engine.run(task(hires=hires(upscaler=Upscaler(name=name))))
        assert made.pixels.shape == (32, 64, 3)
        (encoded,) = engine.of(EncodeImage)
        assert np.unique(encoded.pixels).tolist() == [round(1.25 * 127.5)]
        assert encoded.pixels.shape == (32, 64, 3)

    def test_a_network_enlarges_until_it_is_enough_and_resampling_does_the_rest(self):
        engine = Bench()
        upscaler = Upscaler(name="x", path=Path("x.pth"), tile=40, overlap=3)
        engine.run(task(hires=hires(width=96, height=48, upscale_to=(96, 48), upscaler=upscaler)))
        runs = engine.of(Upscale)
        assert [run.pixels.shape[:2] for run in runs] == [(16, 32), (32, 64)]
        assert {(run.upscaler, run.tile, run.overlap) for run in runs} == {(Path("x.pth"), 40, 3)}
        assert engine.of(EncodeImage)[0].pixels.shape[:2] == (48, 96)

    @pytest.mark.parametrize("upscaler", [LATENT, LANCZOS], ids=["latents", "pixels"])
    def test_what_stands_out_is_cut_from_the_middle(self, upscaler):
        # Left half dark, right half bright: the cut has both.
        def halves(ask):
            picture = torch.full_like(ask.x, -0.5)
            picture[..., ask.x.shape[3] // 2 :] = 0.5
            return picture

        engine = Bench(estimate=halves)
        made = engine.run(task(hires=hires(width=32, height=32, upscale_to=(64, 32), upscaler=upscaler)))
        assert made.pixels.shape == (32, 32, 3)
        assert engine.of(Evaluate)[-1].x.shape[2:] == (4, 4)

    def test_a_size_between_latents_is_rounded_down(self):
        made = Bench().run(task(hires=hires(upscale_to=(71, 39), upscaler=LANCZOS)))
        assert made.pixels.shape == (32, 64, 3)

    @pytest.mark.parametrize("strength", [0.3, 1.0])
    def test_it_takes_all_its_steps_whatever_the_strength(self, strength):
        engine = Bench()
        engine.run(task(hires=hires(denoising_strength=strength)))
        told = [(step.done, step.of, step.part, step.parts) for step in engine.steps]
        assert told == [(i, 4, 0, 2) for i in (1, 2, 3, 4)] + [(i, 3, 1, 2) for i in (1, 2, 3)]

    def test_without_any_strength_the_enlarged_picture_is_returned(self):
        made = Bench().run(task(hires=hires(denoising_strength=0.0)))
        assert np.unique(made.pixels).tolist() == [round(1.25 * 127.5)]
        assert made.pixels.shape == (32, 64, 3)

    def test_less_strength_begins_with_less_noise(self):
        sigmas = []
        for strength in (0.3, 0.7):
            engine = Bench()
            engine.run(task(hires=hires(denoising_strength=strength)))
            sigmas.append(engine.of(Evaluate)[4].sigma)
        assert sigmas[0] < sigmas[1]

    def test_it_has_its_own_prompt_whose_schedule_goes_on_behind_the_first(self):
        engine = Bench()
        second = hires(guided=Guided(prompt="[a:b:1.5]", steps=4))
        engine.run(task(guided=Guided(prompt="[a:b:0.5]", steps=4), hires=second))
        drawn = "".join(ask.conds[0][0].text for ask in engine.of(Evaluate))
        assert drawn == "aaab" + "aaab"

    @pytest.mark.parametrize("upscaler", [LATENT, LANCZOS], ids=["latents", "pixels"])
    def test_it_may_have_its_own_checkpoint(self, upscaler):
        engine = Bench(models={OTHER: bench.model(OTHER)})
        engine.run(task(hires=hires(checkpoint=OTHER, upscaler=upscaler)))
        used = dict(zip(map(id, engine.done), engine.checkpoints, strict=True))
        first, last = engine.of(Evaluate)[0], engine.of(Evaluate)[-1]
        assert (used[id(first)], used[id(last)]) == (bench.SERVED, OTHER)
        assert {used[id(work)] for work in engine.of(EncodeImage)} <= {OTHER}
        if upscaler is LANCZOS:
            assert used[id(engine.of(Decode)[0])] == bench.SERVED

    def test_a_checkpoint_of_other_latents_takes_a_picture_and_no_latents(self):
        models = {OTHER: bench.model(OTHER, latent_scale=0.13025)}
        Bench(models=models).run(task(hires=hires(checkpoint=OTHER, upscaler=LANCZOS)))
        with pytest.raises(UnsupportedError, match="hr_checkpoint_name"):
            Bench(models=models).run(task(hires=hires(checkpoint=OTHER)))

    def test_after_a_refiner_the_checkpoint_itself_draws_again(self):
        engine = Bench(models={OTHER: bench.model(OTHER), bench.SERVED: bench.model()})
        guided = Guided(prompt="a", steps=6, refiner=Refiner(checkpoint=OTHER, switch_at=0.5))
        engine.run(task(guided=guided, hires=hires()))
        assert engine.of(UseCheckpoint) == [UseCheckpoint(OTHER), UseCheckpoint(bench.SERVED)]

    @pytest.mark.parametrize("upscaler", [LATENT, LANCZOS], ids=["latents", "pixels"])
    def test_the_first_picture_is_returned_too_if_asked_for(self, upscaler):
        made = Bench().run(task(hires=hires(keep_first_pass=True, upscaler=upscaler)))
        assert made.first_pass.shape == (16, 32, 3)
        assert Bench().run(task(hires=hires(upscaler=upscaler))).first_pass is None

    @pytest.mark.parametrize("upscaler", [LATENT, LANCZOS], ids=["latents", "pixels"])
    def test_a_picture_may_stand_for_the_first_pass(self, upscaler):
        engine = Bench()
        picture = np.full((20, 40, 3), 51, dtype=np.uint8)
        made = engine.run(task(first_pass=picture, hires=hires(upscaler=upscaler)))
        assert made.pixels.shape == (32, 64, 3)
        assert [(step.part, step.parts) for step in engine.steps] == [(0, 1)] * 3
        assert np.unique(engine.of(EncodeImage)[0].pixels).tolist() == [51]

    @pytest.mark.parametrize(
        ("estimates", "shape"), [(2, (16, 32, 3)), (4, (16, 32, 3)), (5, (32, 64, 3))],
        ids=["in the first pass", "between them", "in the second pass"],
    )  # fmt: skip
    @pytest.mark.parametrize("upscaler", [LATENT, LANCZOS], ids=["latents", "pixels"])
    def test_told_to_end_it_returns_what_there_is(self, upscaler, estimates, shape):
        engine = Bench(interrupt_after=estimates)
        made = engine.run(task(hires=hires(upscaler=upscaler)))
        assert made.interrupted
        assert made.pixels.shape == shape
        assert len(engine.of(Evaluate)) == estimates

    def test_the_textual_inversions_of_both_passes_are_told(self):
        second = hires(guided=Guided(prompt="a trigger", steps=2))
        assert Bench().run(task(hires=second)).embeddings == (("trigger", "abc"),)
