"""Colours that are kept: what becomes of an estimate, and in which steps, passes and parts of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sd_runtime.engine.work import EncodeImage, Estimate
from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks import colour_fix
from sd_runtime.tasks.colour_fix import Colours
from sd_runtime.tasks.control import ColourFix, Control, ControlMode, Hint
from sd_runtime.tasks.img2img import Img2Img
from sd_runtime.tasks.recipe import Guided, Hires, Mask, Refiner, Upscaler
from sd_runtime.tasks.txt2img import Txt2Img
from tests.unit.runtime.tasks import bench
from tests.unit.runtime.tasks.bench import Bench

OTHER = Path("other.safetensors")
VAE = Path("vae.safetensors")
RADIUS = 3
#: What the bench's texts draw, everywhere.
DRAWN = 0.5


def noise(seed: int, height: int = 12, width: int = 20) -> torch.Tensor:
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(seed))


def mean_around(latents: torch.Tensor, radius: int) -> torch.Tensor:
    """The mean of every square, pixel by pixel."""
    side = 2 * radius + 1
    padded = np.pad(latents.numpy(), ((0, 0), (0, 0), (radius, radius), (radius, radius)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))
    return torch.from_numpy(windows.mean(axis=(-2, -1)))


@pytest.mark.parametrize("radius", [1, 3, 16])
def test_a_blur_is_the_mean_of_a_square_that_may_be_larger_than_the_picture(radius: int) -> None:
    latents = noise(1)
    assert torch.allclose(colour_fix.blur(latents, radius), mean_around(latents, radius), atol=1e-5)


def of_each_text(
    latents: torch.Tensor, origin: torch.Tensor, share: float | torch.Tensor, *, sharpness: float = 0.0
) -> torch.Tensor:
    """What the extension does to the estimate of one text, as its users know it; a negative prompt's is
    blurred by the sharpness besides."""
    kept = latents - mean_around(latents, RADIUS) + mean_around(origin, RADIUS)
    blurred = sharpness / 100
    kept = blurred * mean_around(kept, RADIUS) + (1 - blurred) * kept
    return share * kept + (1 - share) * latents


@pytest.mark.parametrize("sharpness", [0.0, 2.0])
@pytest.mark.parametrize("is_masked", [False, True])
def test_after_guidance_it_is_as_if_done_to_every_text_before(sharpness: float, *, is_masked: bool) -> None:
    mask = noise(9)[:, :1].sigmoid() if is_masked else None
    fix = ColourFix(variation=RADIUS, sharpness=sharpness)
    origins, weights, scale = (noise(1), noise(2)), (0.7, 0.4), 7.0
    unguided, texts = noise(3), [(noise(4), 1.0), (noise(5), 0.5)]
    estimate = Estimate(guided(unguided, texts, scale), unguided)
    for origin, weight in zip(origins, weights, strict=True):
        colours = Colours(origin, fix, weight=weight, mask=mask)
        estimate = colours.kept(estimate, unguided_factor=1 - scale * 1.5)
        share = weight if mask is None else weight * mask
        unguided = of_each_text(unguided, origin, share, sharpness=sharpness)
        texts = [(of_each_text(text, origin, share), much) for text, much in texts]
    assert estimate.unguided is not None
    assert torch.allclose(estimate.unguided, unguided, atol=1e-5)
    assert torch.allclose(estimate.denoised, guided(unguided, texts, scale), atol=1e-4)


def guided(unguided: torch.Tensor, texts: list[tuple[torch.Tensor, float]], scale: float) -> torch.Tensor:
    for_texts = [scale * weight * (text - unguided) for text, weight in texts]
    return unguided + torch.stack(for_texts).sum(dim=0)


def test_sharpness_needs_guidance() -> None:
    made = [
        Colours(noise(1), ColourFix(variation=RADIUS, sharpness=sharpness), weight=1).kept(
            Estimate(noise(2)), unguided_factor=0.0
        )
        for sharpness in (0.0, 2.0)
    ]
    assert torch.equal(made[0].denoised, made[1].denoised)
    assert made[0].unguided is made[1].unguided is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"variation": 0}, "threshold_a: 0 is not supported; allowed: 1 to 32"),
        ({"variation": 33}, "threshold_a: 33"),
        ({"sharpness": 2.5}, "threshold_b: 2.5 is not supported; allowed: 0 to 2"),
        ({"sharpness": float("nan")}, "threshold_b: nan"),
    ],
)
def test_numbers_are_judged_at_once(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        ColourFix(**fields)
    assert told in str(error.value)


def photograph(side: int = 256) -> np.ndarray[Any, Any]:
    """Dark on the left and light on the right."""
    across = np.linspace(0, 255, side).astype(np.uint8)
    return np.broadcast_to(across[None, :, None], (side, side, 3)).copy()


def control(**fields: Any) -> Control:
    """One that keeps the photograph's colours; the bench has no ControlNets, so it does nothing else."""
    own: dict[str, Any] = {"hint": Hint(photograph), "colour_fix": ColourFix(variation=RADIUS)}
    return Control(network=Path("tile.safetensors"), **(own | fields))


def task(*controls: Control, **fields: Any) -> Txt2Img:
    own: dict[str, Any] = {"prompt": str(DRAWN), "negative_prompt": "0", "cfg_scale": 2.0, "steps": 4}
    settings = Guided(**(own | fields.pop("guided", {})))  # guided: 2 * 0.5
    size: dict[str, Any] = {"width": 256, "height": 256}
    return Txt2Img(guided=settings, noise=NoiseSettings(seed=1), controls=controls, **(size | fields))


def estimates(engine: Bench) -> list[np.ndarray[Any, Any]]:
    """The first channel of each step's, which the preview is made of."""
    found = []
    for step in engine.steps:
        assert step.denoised is not None
        found.append(step.denoised[0, 0].numpy())
    return found


def run(*controls: Control, **fields: Any) -> list[np.ndarray[Any, Any]]:
    engine = Bench()
    engine.run(task(*controls, **fields))
    return estimates(engine)


PLAIN = 2 * DRAWN
#: What a flat estimate becomes.
FOLLOWING = mean_around(bench.encode(photograph()), RADIUS)[0, 0].numpy()


@pytest.mark.parametrize(
    ("weight", "share"), [(0, 0.0), (0.25, 0.25), (1, 1.0), (1.5, 1.0)], ids=lambda value: str(value)
)
def test_low_frequencies_are_the_control_pictures_by_the_weight(weight: float, share: float) -> None:
    made = run(control(weight=weight))
    assert len(made) == 4
    for each in made:
        assert np.allclose(each, share * FOLLOWING + (1 - share) * PLAIN, atol=1e-5)


@pytest.mark.parametrize("mode", ControlMode)
def test_the_mode_is_the_networks_alone(mode: ControlMode) -> None:
    assert all(np.allclose(each, FOLLOWING, atol=1e-5) for each in run(control(mode=mode)))


def test_other_controls_leave_colours_alone() -> None:
    assert all((each == PLAIN).all() for each in run(control(colour_fix=None)))


@pytest.mark.parametrize(
    ("share", "follows"),
    [
        ({"end": 0.5}, [True, True, False, False]),
        ({"start": 0.25}, [False, True, True, True]),
        ({"start": 0.5, "end": 0.75}, [False, False, True, False]),
    ],
    ids=str,
)
def test_it_is_done_in_the_steps_in_which_the_control_takes_part(
    share: dict[str, float], follows: list[bool]
) -> None:
    made = run(control(**share))
    assert [np.allclose(each, FOLLOWING, atol=1e-5) for each in made] == follows
    assert [bool((each == PLAIN).all()) for each in made] == [not each for each in follows]


def test_a_mask_confines_it() -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[:, 128:] = 255
    for each in run(control(mask=mask)):
        assert (each[:, :15] == PLAIN).all()
        assert np.allclose(each[:, 17:], FOLLOWING[:, 17:], atol=1e-5)


#: What is left of that besides its own low frequencies.
DETAIL = FOLLOWING - mean_around(torch.tensor(FOLLOWING)[None, None], RADIUS)[0, 0].numpy()


def test_of_two_the_second_begins_with_what_the_first_made() -> None:
    white = np.full((256, 256, 3), 255, np.uint8)
    for each in run(control(), control(hint=Hint(lambda: white), weight=0.5)):
        assert np.allclose(each, 0.5 * FOLLOWING + 0.5 * (DETAIL + 1), atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "away"), [(str(DRAWN), 2.0 - 1), (f"{DRAWN} AND {DRAWN} :0.5", 2.0 * 1.5 - 1)], ids=str
)
def test_guidance_turns_the_blur_of_the_negative_prompt_into_sharpness(prompt: str, away: float) -> None:
    sharp = control(colour_fix=ColourFix(variation=RADIUS, sharpness=2.0))
    for each in run(sharp, guided={"prompt": prompt}):
        assert np.allclose(each, FOLLOWING + away * 0.02 * DETAIL, atol=1e-5)
    assert np.abs(away * 0.02 * DETAIL).max() > 5e-4


def test_the_map_is_encoded_once_for_a_pass_at_its_size_and_by_its_autoencoder() -> None:
    engine = Bench()
    engine.run(task(control(), control(colour_fix=None), width=128, vae=VAE, tiling=True))
    (encoded,) = engine.of(EncodeImage)
    assert encoded.pixels.shape == (256, 128, 3)
    assert (encoded.vae, encoded.tiling) == (VAE, True)


def hires(option: str, *, first: bool = True, second: bool = True) -> Bench:
    engine = Bench()
    guided = Guided(prompt=str(DRAWN), negative_prompt="0", cfg_scale=2.0, steps=2)
    passes = Hires(
        guided=guided,
        width=512,
        height=512,
        upscale_to=(512, 512),
        upscaler=Upscaler(name=option),
        denoising_strength=0.5,
    )
    engine.run(task(control(first_pass=first, second_pass=second), hires=passes, vae=VAE, tiling=True))
    return engine


@pytest.mark.parametrize("option", ["Latent", "Lanczos"])
def test_a_second_pass_keeps_colours_at_its_own_size_and_lets_them_stray_twice_as_far(option: str) -> None:
    engine = hires(option)
    encoded = engine.of(EncodeImage)
    assert [len(each.pixels) for each in encoded][:: len(encoded) - 1] == [256, 512]
    assert all((each.vae, each.tiling) == (VAE, True) for each in encoded)
    wide = mean_around(bench.encode(encoded[-1].pixels), 2 * RADIUS)[0, 0].numpy()
    first, second = estimates(engine)[:4], estimates(engine)[4:]
    assert all(np.allclose(each, FOLLOWING, atol=1e-5) for each in first)
    assert len(second) == 2 and all(np.allclose(each, wide, atol=1e-5) for each in second)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_a_control_of_one_pass_keeps_colours_in_that_one(*, first: bool, second: bool) -> None:
    made = estimates(hires("Latent", first=first, second=second))
    plain = [bool((each == PLAIN).all()) for each in made]
    assert plain == [not first] * 4 + [not second] * 2


@pytest.mark.parametrize(("family", "goes_on"), [("SD15", True), ("SD2", False)])
def test_a_refiner_of_another_family_keeps_no_colours(family: str, *, goes_on: bool) -> None:
    engine = Bench(models={OTHER: bench.model(OTHER, family=family)})
    engine.run(task(control(), guided={"refiner": Refiner(checkpoint=OTHER, switch_at=0.5)}))
    made = [np.allclose(each, FOLLOWING, atol=1e-5) for each in estimates(engine)]
    assert made[0]
    assert made[-1] is goes_on


def test_a_refiner_of_another_family_that_leaves_a_control_no_step_is_refused() -> None:
    engine = Bench(models={OTHER: bench.model(OTHER, family="SD2")})
    refiner = {"refiner": Refiner(checkpoint=OTHER, switch_at=0.0)}
    told = (
        "refiner_switch_at: 0.0 .* before its first step this pass goes over to other, a refiner of another"
    )
    with pytest.raises(UnsupportedError, match=told):
        engine.run(task(control(), guided=refiner))
    Bench(models={OTHER: bench.model(OTHER)}).run(task(control(), guided=refiner))
    engine.run(task(guided=refiner))


def test_what_an_inpainting_mask_keeps_is_left_as_it_is() -> None:
    image = np.full((256, 256, 3), 51, np.uint8)
    mask = np.zeros((256, 256), np.uint8)
    mask[:128] = 255
    engine = Bench()
    engine.run(
        Img2Img(
            guided=Guided(prompt=str(DRAWN), negative_prompt="0", cfg_scale=2.0, steps=4),
            noise=NoiseSettings(seed=1),
            image=image,
            width=256,
            height=256,
            denoising_strength=1.0,
            mask=Mask(image=mask, blur_x=0, blur_y=0),
            controls=(control(),),
            vae=VAE,
        )
    )
    assert [each.vae for each in engine.of(EncodeImage)] == [VAE, VAE]
    for each in estimates(engine):
        assert np.allclose(each[:15], FOLLOWING[:15], atol=1e-5)
        assert np.allclose(each[17:], 51 / 127.5 - 1, atol=1e-5)
