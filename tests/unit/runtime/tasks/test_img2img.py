"""Pictures from pictures, and parts of pictures drawn anew."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sd_runtime.engine.work import EncodeImage, Evaluate, Interrupted, Upscale
from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.img2img import Img2Img
from sd_runtime.tasks.recipe import Guided, Mask, MaskedContent, ResizeMode, Upscaler
from tests.unit.runtime.tasks import bench
from tests.unit.runtime.tasks.bench import Bench

WHITE = 255
DRAWN = round(1.5 * 127.5)  # what the prompt "0.5" draws


def picture(value: int = 51, width: int = 64, height: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def task(**changes: Any) -> Img2Img:
    fields: dict[str, Any] = {
        "guided": Guided(prompt="0.5", steps=10, cfg_scale=1.0),
        "noise": NoiseSettings(seed=1),
        "image": picture(),
        "width": 64,
        "height": 64,
        "denoising_strength": 0.5,
        **changes,
    }
    return Img2Img(**fields)


def mask(
    left: int, top: int, right: int, bottom: int, *, width: int = 64, height: int = 64, **fields: Any
) -> Mask:
    image = np.zeros((height, width), dtype=np.uint8)
    image[top:bottom, left:right] = WHITE
    return Mask(image=image, **{"blur_x": 0, "blur_y": 0, **fields})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 65}, "width: 65 .* multiples of 8"),
        ({"height": 0}, "height: 0 "),
        ({"noise": NoiseSettings(seed=-1)}, "seed: -1 "),
        ({"denoising_strength": -0.1}, "denoising_strength: -0.1 "),
        ({"noise_multiplier": float("inf")}, "initial_noise_multiplier: inf "),
        ({"mask": mask(0, 0, 8, 8, blur_y=-1)}, "mask_blur: -1 "),
        ({"mask": mask(0, 0, 8, 8, padding=-1)}, "inpaint_full_res_padding: -1 "),
        ({"mask": mask(0, 0, 0, 0, only_masked=True)}, "mask: .* something white"),
        ({"mask": mask(0, 0, 64, 64, only_masked=True, invert=True)}, "mask: .* something white"),
        (
            {"mask": mask(0, 0, 8, 8), "resize_mode": ResizeMode.LATENT, "image": picture(width=72)},
            "resize_mode: 3 .* with a mask",
        ),
    ],
)
def test_a_bad_value_is_refused_on_construction_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        task(**changes)


class TestStrength:
    @pytest.mark.parametrize(
        ("strength", "exact", "steps"),
        [(0.5, False, 6), (1.0, False, 10), (0.0, False, 1), (0.5, True, 10)],
    )
    def test_it_is_the_share_of_the_steps_that_is_taken(self, strength, exact, steps):
        engine = Bench()
        engine.run(task(denoising_strength=strength, exact_steps=exact))
        assert len(engine.of(Evaluate)) == steps
        assert [(step.done, step.of) for step in engine.steps] == [(i + 1, steps) for i in range(steps)]

    def test_the_pass_begins_with_the_picture_and_noise(self):
        engine = Bench()
        engine.run(task(noise_multiplier=0.0))
        first = engine.of(Evaluate)[0]
        assert np.allclose(first.x[0, :3], 51 / 127.5 - 1)

    def test_the_noise_is_multiplied(self):
        spread = []
        for multiplier in (0.5, 1.0):
            engine = Bench()
            engine.run(task(noise_multiplier=multiplier))
            spread.append(engine.of(Evaluate)[0].x.std().item())
        assert spread[1] == pytest.approx(2 * spread[0], rel=0.1)


class TestSizes:
    SOURCE = picture(width=128, height=64)

    @pytest.mark.parametrize(
        ("mode", "encoded"),
        [
            (ResizeMode.STRETCH, (64, 64)),
            (ResizeMode.CROP, (64, 64)),
            (ResizeMode.FILL, (64, 64)),
            (ResizeMode.LATENT, (64, 128)),
        ],
    )
    def test_a_picture_of_another_shape_is_drawn_at_the_size_asked_for(self, mode, encoded):
        engine = Bench()
        made = engine.run(task(image=self.SOURCE, resize_mode=mode))
        assert made.pixels.shape == (64, 64, 3)
        assert engine.of(EncodeImage)[0].pixels.shape[:2] == encoded

    def test_cropping_keeps_the_middle_and_filling_continues_the_edges(self):
        source = picture(0, width=128, height=64)
        source[:, 32:96] = 100
        seen = {}
        for mode in (ResizeMode.CROP, ResizeMode.FILL):
            engine = Bench()
            engine.run(task(image=source, resize_mode=mode))
            seen[mode] = engine.of(EncodeImage)[0].pixels
        assert np.median(seen[ResizeMode.CROP]) == 100
        assert (seen[ResizeMode.FILL][0] == seen[ResizeMode.FILL][17]).all()

    def test_latents_have_whole_sizes_only(self):
        engine = Bench()
        engine.run(task(image=picture(width=70, height=5), resize_mode=ResizeMode.LATENT))
        assert engine.of(EncodeImage)[0].pixels.shape[:2] == (8, 64)

    def test_a_network_enlarges_what_is_too_small(self):
        engine = Bench()
        upscaler = Upscaler(name="x", path=Path("x.pth"))
        engine.run(task(image=picture(width=32, height=32), upscaler=upscaler))
        assert len(engine.of(Upscale)) == 1
        engine = Bench()
        engine.run(task(image=picture(width=80, height=80), upscaler=upscaler))
        assert engine.of(Upscale) == []

    def test_what_is_transparent_is_laid_on_the_background(self):
        image = np.dstack([picture(0), np.zeros((64, 64), dtype=np.uint8)])
        engine = Bench()
        engine.run(task(image=image, background=(1, 2, 3)))
        assert engine.of(EncodeImage)[0].pixels[0, 0].tolist() == [1, 2, 3]


class TestLongPictures:
    """A few pixels of an extreme shape: whatever is made of them on the way stays small."""

    @pytest.mark.parametrize("mode", [ResizeMode.STRETCH, ResizeMode.CROP, ResizeMode.FILL])
    @pytest.mark.parametrize(("width", "height"), [(4, 20_000), (20_000, 4), (200, 40), (40, 200)])
    def test_a_network_is_shown_no_more_than_is_wanted_of_them(self, mode, width, height):
        engine = Bench()
        upscaler = Upscaler(name="x", path=Path("x.pth"))
        long = picture(width=width, height=height)
        made = engine.run(task(image=long, upscaler=upscaler, resize_mode=mode))
        assert made.pixels.shape == (64, 64, 3)
        for run in engine.of(Upscale):
            assert max(run.pixels.shape[:2]) <= 2 * (64 + 2 * 64)

    def test_what_a_network_makes_of_the_middle_is_what_is_kept(self):
        shades = np.arange(200, dtype=np.uint8).repeat(40).reshape(200, 40)
        engine = Bench()
        upscaler = Upscaler(name="x", path=Path("x.pth"))
        engine.run(
            task(image=shades[..., None].repeat(3, axis=2), upscaler=upscaler, resize_mode=ResizeMode.CROP)
        )
        (encoded,) = engine.of(EncodeImage)
        # 40 rows around the middle of 200, 1.6 times as many of them.
        assert encoded.pixels[0, 0, 0] == 80 and encoded.pixels[-1, 0, 0] == 119
        assert encoded.pixels[32, 0, 0] in (99, 100)

    def test_a_part_that_is_drawn_alone_goes_back_into_a_thin_picture(self):
        thin = picture(width=8, height=6000)
        mask_of_all = mask(0, 0, 8, 6000, width=8, height=6000, only_masked=True)
        tracemalloc.start()
        try:
            made = Bench().run(task(image=thin, mask=mask_of_all))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert made.pixels.shape == (6000, 8, 3)
        # A square that covers it would be 6000 x 6000.
        assert peak < 32 * 2**20


class TestMask:
    def test_only_what_is_white_is_drawn(self):
        made = Bench().run(task(mask=mask(16, 16, 48, 48)))
        assert np.unique(made.pixels[16:48, 16:48]).tolist() == [DRAWN]
        made.pixels[16:48, 16:48] = 51
        assert np.unique(made.pixels).tolist() == [51]

    def test_inverted_only_what_is_black(self):
        made = Bench().run(task(mask=mask(16, 16, 48, 48, invert=True)))
        assert np.unique(made.pixels[16:48, 16:48]).tolist() == [51]
        assert np.unique(made.pixels[:16]).tolist() == [DRAWN]

    def test_the_original_itself_is_laid_over_what_was_not_masked(self):
        image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        made = Bench().run(task(image=image, mask=mask(32, 0, 64, 64, blur_x=2, blur_y=2)))
        assert np.array_equal(made.pixels[:, :24], image[:, :24])
        assert np.unique(made.pixels[:, 40:]).tolist() == [DRAWN]

    def test_the_sampler_is_told_what_is_kept(self):
        engine = Bench()
        engine.run(task(mask=mask(32, 0, 64, 64)))
        denoised = engine.steps[0].denoised[0, 0]
        assert np.allclose(denoised[:, :4], 51 / 127.5 - 1)
        assert np.allclose(denoised[:, 4:], 0.5)

    def test_a_soft_mask_is_in_between_in_the_latents_unless_it_is_rounded(self):
        soft = np.full((64, 64), 102, dtype=np.uint8)
        kept = 51 / 127.5 - 1
        for binary, value in ((True, kept), (False, kept + 0.4 * (0.5 - kept))):
            engine = Bench()
            engine.run(task(mask=Mask(image=soft, blur_x=0, blur_y=0, round=binary)))
            assert engine.steps[0].denoised[0, 0].mean().item() == pytest.approx(value, abs=0.01)

    @pytest.mark.parametrize(
        ("content", "under"),
        [
            (MaskedContent.ORIGINAL, 1.0),
            (MaskedContent.FILL, 51 / 127.5 - 1),
            (MaskedContent.LATENT_NOTHING, 0.0),
        ],
    )
    def test_the_masked_area_begins_with_what_was_asked_for(self, content, under):
        image = picture()
        image[16:48, 16:48] = WHITE
        engine = Bench()
        engine.run(task(image=image, mask=mask(8, 8, 56, 56, content=content), noise_multiplier=0.0))
        x = engine.of(Evaluate)[0].x[0, 0]
        assert x[3, 3].item() == pytest.approx(under, abs=0.05)
        assert x[0, 0].item() == pytest.approx(51 / 127.5 - 1, abs=1e-5)

    def test_latent_noise_is_the_noise_of_the_seed(self):
        engine = Bench()
        content = MaskedContent.LATENT_NOISE
        engine.run(task(mask=mask(0, 0, 64, 64, content=content), noise_multiplier=0.0))
        x = engine.of(Evaluate)[0].x
        assert x.std().item() == pytest.approx(1, abs=0.2)

    def test_a_mask_of_another_size_is_fitted_as_the_picture_is(self):
        image = picture(width=128, height=64)
        half = mask(64, 0, 128, 64, width=128)
        made = Bench().run(task(image=image, mask=half, resize_mode=ResizeMode.CROP))
        assert np.unique(made.pixels[:, :28]).tolist() == [51]
        assert np.unique(made.pixels[:, 40:]).tolist() == [DRAWN]

    def test_told_to_end_it_keeps_what_was_not_masked(self):
        made = Bench(interrupt_after=1).run(task(mask=mask(16, 16, 48, 48)))
        assert made.interrupted
        assert np.unique(made.pixels[:16]).tolist() == [51]
        with pytest.raises(Interrupted):
            Bench(interrupt_after=0).run(task(mask=mask(16, 16, 48, 48)))


class TestOnlyMasked:
    def test_the_part_around_the_mask_is_drawn_at_full_size_and_put_in_its_place(self):
        image = picture(width=200, height=100)
        engine = Bench()
        area = mask(80, 40, 100, 60, width=200, height=100, only_masked=True, padding=10)
        made = engine.run(task(image=image, mask=area))
        assert made.pixels.shape == (100, 200, 3)
        assert engine.of(EncodeImage)[0].pixels.shape == (64, 64, 3)
        assert np.unique(made.pixels[42:58, 82:98]).tolist() == [DRAWN]
        made.pixels[40:60, 80:100] = 51
        assert np.unique(made.pixels).tolist() == [51]

    def test_what_is_around_is_seen_by_the_network_as_far_as_the_padding(self):
        image = picture(0, width=200, height=100)
        image[30:70, 70:110] = 200
        engine = Bench()
        area = mask(80, 40, 100, 60, width=200, height=100, only_masked=True, padding=10)
        engine.run(task(image=image, mask=area))
        assert np.unique(engine.of(EncodeImage)[0].pixels).tolist() == [200]

    def test_a_mask_of_another_size_is_stretched_over_the_picture(self):
        image = picture(width=128, height=128)
        made = Bench().run(task(image=image, mask=mask(32, 32, 64, 64, only_masked=True, padding=0)))
        assert np.unique(made.pixels[72:, 72:]).tolist() == [DRAWN]
        assert np.unique(made.pixels[:56, :56]).tolist() == [51]

    def test_a_mask_that_softening_leaves_nothing_of_is_refused_by_name(self):
        with pytest.raises(UnsupportedError, match="mask_blur: 60 "):
            Bench().run(task(mask=mask(0, 0, 1, 1, only_masked=True, blur_x=60, blur_y=60)))


class TestInpaintingCheckpoint:
    def test_it_is_shown_the_mask_and_the_picture_without_what_is_masked(self):
        engine = Bench(model=bench.model(extra_channels=5))
        engine.run(task(mask=mask(32, 0, 64, 64)))
        concat = engine.of(Evaluate)[0].concat
        assert concat.shape == (1, 5, 8, 8)
        assert concat[0, 0].mean(dim=0).tolist() == [0.0] * 4 + [1.0] * 4
        shown = engine.of(EncodeImage)[1].pixels
        assert (np.unique(shown[:, :32]).tolist(), np.unique(shown[:, 32:]).tolist()) == ([51], [128])

    def test_without_a_mask_all_is_masked(self):
        engine = Bench(model=bench.model(extra_channels=5))
        engine.run(task())
        assert engine.of(Evaluate)[0].concat[0, 0].min() == 1


def test_colours_can_be_those_of_what_it_was_made_from():
    image = picture()
    image[:] = (150, 100, 90)
    plain, corrected = (Bench().run(task(image=image, color_correction=on)).pixels for on in (False, True))
    assert np.ptp(plain, axis=2).max() == 0
    assert corrected[0, 0, 0] > corrected[0, 0, 1] > corrected[0, 0, 2]
