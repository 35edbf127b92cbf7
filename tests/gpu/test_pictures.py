"""Pictures that a GPU draws: right, the same again, the same amid others, compiled or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.pictures import rig
from demo.judge import reading
from demo.measure.bench import held_out_prompts
from sd_runtime.engine.loop import Engine
from sd_runtime.sampling import SAMPLERS
from sd_runtime.sampling.philox import Philox
from tests.gpu.drawing import difference, engine_of, pictures_by

PROMPTS = held_out_prompts(48)
#: Of 255, between a picture alone and amid strangers. How many rows a call has decides by which of cuDNN's
#: algorithms some convolutions in float16 are computed, whose sums differ in the last bit; LMS, PLMS and
#: Restart make much of it.
MOST = {"float32": 2, "bfloat16": 2, "float16": 8}
AMPLIFYING = ("LMS", "PLMS", "Restart")
SIMPLE = [info.name for info in SAMPLERS if not info.adaptive]


def asked_for() -> list[Any]:
    return [rig.picture(prompt=prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)]


def share(pictures: np.ndarray[Any, Any]) -> float:
    """Of the pictures, those that show all that was asked for."""
    verdicts = reading.shipped().agreement(torch.from_numpy(pictures).permute(0, 3, 1, 2), PROMPTS)
    return reading.shares(verdicts)["all"]


@pytest.fixture(scope="module")
def by_processor(models: Path) -> np.ndarray[Any, Any]:
    with engine_of(models, device="cpu") as engine:
        return pictures_by(engine, asked_for())


def test_pictures_show_what_was_asked_for_as_often_as_the_processors(
    engine: Engine, by_processor: np.ndarray[Any, Any]
) -> None:
    pictures = pictures_by(engine, asked_for())
    assert share(by_processor) >= 0.85
    assert share(pictures) >= share(by_processor) - 2 / len(PROMPTS)
    # The same pictures, too: noise and texts are the same, only the arithmetic is another's.
    assert float(np.abs(pictures.astype(int) - by_processor.astype(int)).mean()) < 4


def test_the_same_request_twice_gives_the_same_bytes(engine: Engine) -> None:
    task = rig.picture(sampler="Euler a")
    assert np.array_equal(pictures_by(engine, [task]), pictures_by(engine, [task]))


@pytest.mark.parametrize("sampler", SIMPLE)
def test_a_picture_is_the_same_alone_and_amid_fifteen_strangers(engine: Engine, sampler: str) -> None:
    task = rig.picture(sampler=sampler, prompt="a small blue star, red background", seed=99)
    strangers = [
        rig.picture(prompt=prompt, seed=seed, sampler=SIMPLE[seed], steps=8 + seed, cfg_scale=1.0 + seed / 3)
        for seed, prompt in enumerate(PROMPTS[:15])
    ]
    alone = pictures_by(engine, [task])[0]
    amid = pictures_by(engine, [*strangers[:4], task, *strangers[4:]])[4]
    assert engine.resident is not None
    dtype = engine.resident.device.dtype
    if dtype == "float16" and sampler in AMPLIFYING:
        assert float(np.abs(alone.astype(int) - amid.astype(int)).mean()) < 6
    else:
        assert difference(alone, amid) <= MOST[dtype]


def test_noise_of_the_kind_nv_is_what_this_gpu_draws() -> None:
    for shape in ((4, 64, 64), (4, 8, 8), (4, 96, 128), (3,)):
        for seed in (0, 1, 2**32 + 7):
            generator = torch.Generator("cuda").manual_seed(seed)
            emulated = Philox(seed)
            for _ in range(3):
                drawn = torch.randn(shape, generator=generator, device="cuda").cpu().numpy()
                assert np.abs(emulated.normal(shape) - drawn).max() < 1e-5, (shape, seed)


def test_compiled_blocks_draw_the_same_and_lay_what_they_made_in_the_cache(
    models: Path, tmp_path: Path
) -> None:
    loras = [models / place for place in rig.LORAS.values()]
    tasks = [
        *asked_for()[:6],
        rig.picture(size=96, seed=7),
        rig.picture(loras=loras[:1], seed=8),
        rig.picture(loras=loras, seed=9, cfg_scale=1.0),
    ]
    with engine_of(models) as plain:
        expected = [pictures_by(plain, [task])[0] for task in tasks]
    with engine_of(models, compile=True, compile_cache=tmp_path / "compiled") as compiled:
        tickets = [compiled.submit(task) for task in tasks]
        found = [ticket.future.result(600).pixels for ticket in tickets]
    for one, other in zip(expected, found, strict=True):
        assert float(np.abs(one.astype(int) - other.astype(int)).mean()) < 4
    assert any(path.is_file() for path in (tmp_path / "compiled").rglob("*"))
