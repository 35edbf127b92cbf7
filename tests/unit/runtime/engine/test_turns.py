"""Long pieces of one task's work leave the others their turn."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_bench import WAIT, Bench, picture

from sd_runtime.engine.work import Decode, Encode, EncodeImage, Made, OnStep, TaskRun, Upscale
from sd_runtime.errors import Cancelled
from sd_runtime.prompt import encoding

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Enlarging:
    """An enlargement of many tiles."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        pixels = yield Upscale(Path("any"), PIXELS)
        return Made(pixels)


class Decoding:
    """A picture that is decoded in many tiles."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        import torch

        latents = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
        pixels = yield Decode(latents)
        return Made(pixels)


class Encoding:
    """A picture that is encoded in many tiles; told as a picture again."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        latents = yield EncodeImage(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8))
        return Made(latents.numpy().view(np.uint8))


LARGE = [Enlarging, Decoding, Encoding]
TILES = 49


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tiles that were computed, each of which takes a while."""
    from diffusers import AutoencoderKL

    from sd_runtime.models import vae
    from sd_runtime.models.upscaler import Upscalers

    done: list[int] = []

    def enlarge(*rest: Any, **more: Any) -> Generator[None, None, Any]:
        for _ in range(TILES):
            note_tile()
            yield
        return PIXELS + 1

    def note_tile() -> None:
        time.sleep(0.03)
        done.append(len(done))

    def noting(real: Any) -> Any:
        def work(network: Any, values: Any, **more: Any) -> Any:
            # All but small pictures, which are computed as a whole.
            if max(values.shape[-2:]) in (12, 96):
                note_tile()
            return real(network, values, **more)

        return work

    monkeypatch.setattr(Upscalers, "tiles", enlarge)
    monkeypatch.setattr(vae, "_MOST_CELLS", 64)
    monkeypatch.setattr(vae, "_TILES", (12, 6))
    for name in ("decode", "encode"):
        monkeypatch.setattr(AutoencoderKL, name, noting(getattr(AutoencoderKL, name)))
    return done


@pytest.mark.parametrize("large", LARGE)
def test_others_are_served_between_the_tiles_of_a_large_picture(
    bench: Bench, tiles: list[int], large: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = bench.alone(large())
    assert len(tiles) == TILES
    tiles.clear()
    at_calls: list[int] = []
    monkeypatch.setattr(bench.observer, "unet_call", lambda **told: at_calls.append(len(tiles)))
    ticket = bench.engine.submit(large())
    bench.alone(picture(steps=4))
    assert not ticket.future.done()
    assert at_calls == sorted(at_calls)
    assert 0 < at_calls[-1] < TILES
    assert len(set(at_calls)) > 1
    assert np.array_equal(ticket.future.result(WAIT).pixels, alone)
    assert len(tiles) == TILES


@pytest.mark.parametrize("large", LARGE)
def test_a_large_picture_ends_soon_after_it_is_taken_back(
    bench: Bench, tiles: list[int], large: type[Any]
) -> None:
    ticket = bench.engine.submit(large())
    deadline = time.monotonic() + WAIT
    while not tiles:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ticket.cancel()
    with pytest.raises(Cancelled):
        ticket.future.result(WAIT)
    assert len(tiles) < 15
    bench.alone(picture(steps=1))


class Wordy:
    """Asks for one text after the other."""

    checkpoint: Path | None = None

    def run(self, model: Model, on_step: OnStep) -> TaskRun:
        for number in range(60):
            yield Encode(f"text {number}")
        return Made(PIXELS)


def test_a_task_with_many_texts_does_not_keep_the_others_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = encoding.encode

    def slow(*rest: Any, **more: Any) -> Any:
        time.sleep(0.05)
        return real(*rest, **more)

    monkeypatch.setattr(encoding, "encode", slow)
    wordy = bench.engine.submit(Wordy())
    bench.alone(picture(steps=4))
    assert not wordy.future.done()
    wordy.future.result(WAIT)
