"""Pictures made larger."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sd_runtime.engine.work import Unneeded, Upscale
from sd_runtime.errors import UnsupportedError
from sd_runtime.tasks.extras import Extras
from sd_runtime.tasks.recipe import Upscaler
from tests.unit.runtime.tasks.bench import Bench

NETWORK = Upscaler(name="x", path=Path("x.pth"))
LANCZOS, NEAREST, NONE = (Upscaler(name=name) for name in ("Lanczos", "Nearest", "None"))
PICTURE = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)


def task(**changes: Any) -> Extras:
    fields: dict[str, Any] = {"image": PICTURE, "upscaler_1": LANCZOS, **changes}
    if "size" not in fields:
        fields.setdefault("scale", 2.0)
    return Extras(**fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0}, "upscaling_resize: 0 "),
        ({"scale": float("inf")}, "upscaling_resize: inf "),
        ({"scale": 2, "size": (1, 1)}, "scale: 2 .* not both"),
        ({"scale": None}, "scale: None "),
        ({"size": (8, 0)}, "upscaling_resize_h: 0 "),
        ({"size": (70_000, 8)}, "size of the result: '70000x35000' .* 65536 pixels"),
        ({"visibility_2": 1.5}, "extras_upscaler_2_visibility: 1.5 "),
        ({"upscaler_1": Upscaler(name="Latent")}, "upscaler_1: 'Latent' .* Lanczos"),
        ({"upscaler_2": Upscaler(name="Latent")}, "upscaler_2: 'Latent' "),
    ],
)
def test_a_bad_value_is_refused_on_construction_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        task(**changes)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"scale": 2.0}, (20, 40)),
        ({"scale": 0.5}, (5, 10)),
        ({"scale": 0.01}, (1, 1)),
        ({"size": (30, 30)}, (30, 30)),
        ({"size": (30, 30), "crop": False}, (30, 60)),
        ({"upscaler_1": NONE}, (10, 20)),
    ],
    ids=["by a factor", "smaller", "never nothing", "cut to a size", "covering a size", "left as it is"],
)
def test_a_picture_has_the_size_asked_for(changes, shape):
    assert Bench().run(task(**changes)).pixels.shape == (*shape, 3)


def test_it_is_enlarged_by_the_network_and_without_a_checkpoint():
    engine = Bench()
    made = engine.run(task(upscaler_1=NETWORK, scale=2.0))
    assert np.array_equal(made.pixels[::2, ::2], PICTURE)
    assert len(engine.of(Upscale)) == 1
    assert task().checkpoint is Unneeded.CHECKPOINT


def test_nearest_makes_no_new_colours():
    assert np.array_equal(Bench().run(task(upscaler_1=NEAREST)).pixels[1::2, 1::2], PICTURE)


def test_a_second_one_is_blended_over_the_first():
    first, second = (Bench().run(task(upscaler_1=one)).pixels.astype(int) for one in (LANCZOS, NEAREST))
    blended = Bench().run(task(upscaler_1=LANCZOS, upscaler_2=NEAREST, visibility_2=0.25)).pixels
    assert np.abs(blended - (first * 0.75 + second * 0.25)).max() <= 0.51


@pytest.mark.parametrize("changes", [{"upscaler_2": NETWORK}, {"upscaler_2": NONE, "visibility_2": 1.0}])
def test_a_second_one_that_would_not_be_seen_is_not_run(changes):
    engine = Bench()
    made = engine.run(task(**changes))
    assert np.array_equal(made.pixels, Bench().run(task()).pixels)
    assert engine.of(Upscale) == []


def test_progress_is_told():
    engine = Bench()
    engine.run(task())
    assert [(step.done, step.of) for step in engine.steps] == [(1, 1)]
