"""Plugins' upscalers through the engine that serves: pictures, as tasks make them larger."""

import time
from functools import partial

import numpy as np
import pytest

from sd_runtime.engine.loop import Engine
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.errors import PluginError
from sd_runtime.images import resizing
from sd_runtime.models.library import Library
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.extras import Extras
from sd_runtime.tasks.img2img import Img2Img
from sd_runtime.tasks.recipe import Guided, Hires, Upscaler
from sd_runtime.tasks.txt2img import Txt2Img
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import module

PICTURE = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
X2 = {"kind": "Upscaler", "modules": [module("x2", factor=2)]}
LANCZOS = Upscaler(name="Lanczos")


class Unobserved:
    def unet_call(self, *, rows, requests, seconds):
        """Nobody asks."""

    def memory_ran_out(self):
        raise AssertionError("the networks are tiny")


@pytest.fixture(scope="module")
def engine(checkpoint_file):
    engine = Engine(EngineSettings(device="cpu"), Library([]), Unobserved())
    engine.start()
    engine.load(checkpoint_file).result()
    yield engine
    engine.close()


@pytest.fixture
def upscaler(side):
    """An upscaler of that plugin, as the doors hand it over."""

    def made(plugin, **options):
        plugins = side.has(plugin, **options)
        handle = side.module("x2", "Upscaler")
        return Upscaler(name="x2", plugin=lambda pixels: plugins.run(handle, pixels).image, lane="good")

    return made


def twice(picture):
    return picture.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize(
    ("scale", "runs"), [(1.0, 0), (2.0, 1), (1.5, 1), (4.0, 2), (5.0, 3)], ids=lambda value: str(value)
)
def test_a_picture_is_given_to_it_until_it_is_large_enough_and_resized_to_what_was_asked(
    side, engine, upscaler, scale, runs
):
    plugin = side.made(misbehaving.Plugin, **X2)
    task = Extras(image=PICTURE, upscaler_1=upscaler(plugin), scale=scale)
    made = engine.submit(task).future.result(timeout=30).pixels
    assert made.shape == (int(16 * scale), int(24 * scale), 3)
    assert len(plugin.runs) == runs
    expected = PICTURE
    for _ in range(runs):
        expected = twice(expected)
    size = resizing.size_of(made)
    assert np.array_equal(made, resizing.lanczos(expected, size, resizing.whole(expected)))


def test_a_second_upscaler_may_be_another(side, engine, upscaler):
    task = Extras(
        image=PICTURE,
        upscaler_1=LANCZOS,
        upscaler_2=upscaler(side.made(misbehaving.Plugin, **X2)),
        visibility_2=1.0,
        scale=2.0,
    )
    assert np.array_equal(engine.submit(task).future.result(timeout=30).pixels, twice(PICTURE))


def test_the_second_pass_begins_with_its_picture(side, engine, upscaler):
    plugin = side.made(misbehaving.Plugin, **X2)
    guided = Guided(prompt="a cat", steps=2)
    hires = Hires(
        guided=guided,
        width=64,
        height=64,
        upscale_to=(64, 64),
        upscaler=upscaler(plugin),
        denoising_strength=0.5,
        keep_first_pass=True,
    )
    task = Txt2Img(guided=guided, noise=NoiseSettings(seed=1), width=32, height=32, hires=hires)
    made = engine.submit(task).future.result(timeout=60)
    assert made.pixels.shape == (64, 64, 3)
    assert np.array_equal(plugin.runs[0].image, made.first_pass)


def test_a_picture_to_start_from_is_made_larger_by_it(side, engine, upscaler):
    plugin = side.made(misbehaving.Plugin, **X2)
    task = Img2Img(
        guided=Guided(prompt="a cat", steps=2),
        noise=NoiseSettings(seed=1),
        image=PICTURE,
        width=48,
        height=32,
        denoising_strength=0.5,
        upscaler=upscaler(plugin),
    )
    assert engine.submit(task).future.result(timeout=60).pixels.shape == (32, 48, 3)
    assert np.array_equal(plugin.runs[0].image, PICTURE)


def test_one_that_fails_fails_its_picture_alone_with_the_plugins_name(side, engine, upscaler):
    failing = upscaler(side.made(misbehaving.Dying, **X2))
    lost = engine.submit(Extras(image=PICTURE, upscaler_1=failing, scale=2.0))
    other = engine.submit(Extras(image=PICTURE, upscaler_1=LANCZOS, scale=2.0))
    with pytest.raises(PluginError, match="plugin good, module x2: it closed the connection"):
        lost.future.result(timeout=30)
    assert other.future.result(timeout=30).pixels.shape == (32, 48, 3)


def test_one_that_hangs_keeps_nobody_waiting(side, engine, upscaler):
    hanging = upscaler(side.made(misbehaving.Hanging, **X2), seconds=1.0)
    stuck = [engine.submit(Extras(image=PICTURE, upscaler_1=hanging, scale=2.0)) for _ in range(8)]
    began = time.monotonic()
    submit = partial(engine.submit, Extras(image=PICTURE, upscaler_1=LANCZOS, scale=2.0))
    assert submit().future.result(timeout=30).pixels.shape == (32, 48, 3)
    assert time.monotonic() - began < 0.9
    for ticket in stuck:
        with pytest.raises(PluginError, match="plugin good, module x2"):
            ticket.future.result(timeout=30)


def test_many_pictures_at_once_wait_for_their_turn_and_none_is_refused(side, engine, upscaler):
    plugin = side.made(misbehaving.Slow, 0.05, **X2)
    slow = upscaler(plugin)
    tickets = [engine.submit(Extras(image=PICTURE, upscaler_1=slow, scale=2.0)) for _ in range(40)]
    for ticket in tickets:
        assert np.array_equal(ticket.future.result(timeout=30).pixels, twice(PICTURE))
    assert plugin.most_at_once == 4
