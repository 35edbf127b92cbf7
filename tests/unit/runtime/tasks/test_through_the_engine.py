"""The same tasks with real networks: a tiny checkpoint in the engine that serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sd_runtime.engine.loop import Engine
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.models.library import Library
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.extras import Extras
from sd_runtime.tasks.img2img import Img2Img
from sd_runtime.tasks.recipe import Guided, Hires, Mask, Upscaler
from sd_runtime.tasks.txt2img import Txt2Img

GUIDED = Guided(prompt="a [cat:dog:0.5] AND snow", negative_prompt="rain", steps=3)
NOISE = NoiseSettings(seed=1)
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


class Unobserved:
    def unet_call(self, *, rows: int, requests: int, seconds: float) -> None:
        """Nobody asks."""

    def memory_ran_out(self) -> None:
        raise AssertionError("the networks are tiny")


@pytest.fixture(scope="module")
def engine(checkpoint_file: Path) -> Iterator[Engine]:
    engine = Engine(EngineSettings(device="cpu"), Library([]), Unobserved())
    engine.start()
    engine.load(checkpoint_file).result()
    yield engine
    engine.close()


def txt2img(**changes: Any) -> Txt2Img:
    return Txt2Img(guided=GUIDED, noise=NOISE, width=64, height=64, **changes)


def hires(name: str) -> Txt2Img:
    second = Hires(
        guided=GUIDED,
        width=96,
        height=64,
        upscale_to=(96, 96),
        upscaler=Upscaler(name=name),
        denoising_strength=0.5,
    )
    return txt2img(hires=second)


def img2img(**changes: Any) -> Img2Img:
    return Img2Img(
        guided=GUIDED, noise=NOISE, image=PICTURE, width=64, height=64, denoising_strength=0.9, **changes
    )


def half(**changes: Any) -> Mask:
    image = np.zeros((64, 64), dtype=np.uint8)
    image[:, 32:] = 255
    return Mask(image=image, blur_x=0, blur_y=0, **changes)


ENLARGED = Extras(image=PICTURE, upscaler_1=Upscaler(name="Lanczos"), scale=2)
TASKS = {
    "a picture": (txt2img(), (64, 64)),
    "edges that meet": (txt2img(tiling=True), (64, 64)),
    "enlarged as latents": (hires("Latent"), (64, 96)),
    "enlarged as a picture": (hires("Lanczos"), (64, 96)),
    "from a picture": (img2img(), (64, 64)),
    "with a mask": (img2img(mask=half()), (64, 64)),
    "only what is masked": (img2img(mask=half(only_masked=True)), (64, 64)),
    "enlarged without a checkpoint": (ENLARGED, (128, 128)),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_makes_the_same_picture_each_time(engine, name):
    task, size = TASKS[name]
    first, second = (engine.submit(task).future.result(timeout=60).pixels for _ in range(2))
    assert first.shape == (*size, 3)
    assert first.dtype == np.uint8
    assert np.ptp(first) > 0
    assert np.array_equal(first, second)


def test_what_is_not_masked_stays_to_the_very_pixel(engine):
    made = engine.submit(img2img(mask=half())).future.result(timeout=60).pixels
    assert np.array_equal(made[:, :32], PICTURE[:, :32])
    assert not np.array_equal(made[:, 32:], PICTURE[:, 32:])


def test_tasks_of_all_kinds_at_once_are_what_they_are_alone(engine):
    alone = [engine.submit(task).future.result(timeout=60).pixels.astype(int) for task, _ in TASKS.values()]
    tickets = [engine.submit(task) for task, _ in TASKS.values()]
    for ticket, expected in zip(tickets, alone, strict=True):
        assert np.abs(ticket.future.result(timeout=60).pixels - expected).max() <= 2
