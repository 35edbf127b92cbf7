"""A task that needs no checkpoint, as making a picture larger, waits for none and costs none its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_bench import WAIT, picture, running

from sd_runtime.errors import NotLoaded
from sd_runtime.models import checkpoint
from sd_runtime.models.upscaler import Upscalers
from sd_runtime.tasks.extras import Extras
from sd_runtime.tasks.recipe import Upscaler
from sd_runtime.tasks.txt2img import Txt2Img

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
NETWORK = Path("demo/models/upscalers/realesr-animevideov3-x4.safetensors")


def larger(path: Path = NETWORK) -> Extras:
    return Extras(image=PIXELS, upscaler_1=Upscaler(name="x", path=path), scale=4.0)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoints that were read."""
    read: list[str] = []
    real = checkpoint.load

    def load(path: Path, *rest: Any, **more: Any) -> Any:
        read.append(path.name)
        return real(path, *rest, **more)

    monkeypatch.setattr(checkpoint, "load", load)
    return read


@pytest.fixture
def other(checkpoint_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "other.safetensors"
    path.write_bytes(checkpoint_file.read_bytes())
    return path


def test_it_is_done_where_nothing_was_ever_loaded() -> None:
    with running() as bench:
        assert bench.alone(larger()).shape == (64, 64, 3)
        with pytest.raises(NotLoaded):
            bench.alone(picture())


def test_it_brings_no_checkpoint_back_that_another_took_the_place_of(
    checkpoint_file: Path, other: Path, loads: list[str]
) -> None:
    with running(checkpoint_file) as bench:
        bench.alone(picture(steps=1, checkpoint=other))
        assert loads == [checkpoint_file.name, other.name]
        bench.alone(larger())
        bench.alone(picture(steps=1, checkpoint=other))
        assert loads == [checkpoint_file.name, other.name]


class Held(Txt2Img):
    """A picture that keeps its checkpoint in use until it is let go."""

    leave = threading.Event()

    def run(self, model: Any, on_step: Any) -> Any:
        from sd_runtime.engine.work import Host

        yield Host(lambda: self.leave.wait(WAIT))
        return (yield from super().run(model, on_step))


def test_it_is_done_while_another_checkpoint_waits_for_its_turn(checkpoint_file: Path, other: Path) -> None:
    Held.leave.clear()
    with running(checkpoint_file) as bench:
        held = bench.engine.submit(picture(kind=Held))
        load = bench.engine.load(other)
        behind = bench.engine.submit(picture(steps=1))
        assert bench.alone(larger()).shape == (64, 64, 3)
        assert not load.done()
        assert not behind.future.done()
        Held.leave.set()
        held.future.result(WAIT)
        assert load.result(WAIT).path == other
        behind.future.result(WAIT)


def test_a_checkpoint_is_switched_while_it_is_under_way(
    checkpoint_file: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = threading.Event()

    def tiles(*rest: Any, **more: Any) -> Generator[None, None, Any]:
        while not enough.is_set():
            time.sleep(0.01)
            yield
        return np.zeros((64, 64, 3), np.uint8)

    monkeypatch.setattr(Upscalers, "tiles", tiles)
    with running(checkpoint_file) as bench:
        ticket = bench.engine.submit(larger())
        assert bench.engine.load(other).result(WAIT).path == other
        bench.alone(picture(steps=2))
        assert not ticket.future.done()
        enough.set()
        assert ticket.future.result(WAIT).pixels.shape == (64, 64, 3)
        assert ticket.loaded is None
