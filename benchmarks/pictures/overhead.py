"""What the engine costs beside the network: evaluations of a network that does nothing."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.pictures import rig
from benchmarks.pictures.section import Section
from sd_runtime.engine.rounds import Rounds

STEPS = 60
REPEATS = 3


class NullNetwork(torch.nn.Module):
    """Answers zeros of its input's shape, at once."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        return (torch.zeros_like(x),)


def measure() -> Section:
    """Milliseconds an evaluation, by how many pictures are under way."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, _null_network():
        root = Path(folder)
        rig.lay_out(root)
        calls = rig.Calls()
        with rig.engine(root / rig.CHECKPOINT, root=root, calls=calls, measured_batch=False) as engine:
            for count in (1, 4, 16):
                each = statistics.median(_milliseconds(engine, count) for _ in range(REPEATS))
                rows.append((str(count), f"{each:.3f} ms", "≤ 1 ms"))
    note = (
        "Wall time of whole pictures (Euler a, guidance, 64x64) less their decoding, over the number of"
        " evaluations: sampler, prompt schedule, noise, batching, guidance, previews kept."
    )
    return Section(
        "Overhead of an evaluation, with a network that does nothing",
        ("pictures at once", "an evaluation", "target"),
        rows,
        note,
    )


def _milliseconds(engine: Any, count: int) -> float:
    def run(steps: int) -> float:
        began = time.perf_counter()
        rig.wait(
            [engine.submit(rig.picture(seed=seed, steps=steps, sampler="Euler a")) for seed in range(count)]
        )
        return time.perf_counter() - began

    run(1)
    # The difference of two lengths leaves out what a picture costs once.
    short, long = run(10), run(10 + STEPS)
    return (long - short) / (STEPS * count) * 1000


@contextmanager
def _null_network() -> Iterator[None]:
    """Replaces the U-Net of every checkpoint that is loaded meanwhile."""
    real = Rounds.load

    def load(rounds: Rounds, path: Path, **options: Any) -> Any:
        loaded = real(rounds, path, **options)
        model = rounds._residents.get(path)
        assert model is not None
        model.unet.forward = NullNetwork().forward
        return loaded

    Rounds.load = load  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Rounds.load = real  # type: ignore[method-assign]
