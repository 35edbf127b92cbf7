"""32 unlike requests at once: batched by evaluation, in static batches, one at a time; of the demo's
checkpoint, and of one of Stable Diffusion 1.5's size.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

from benchmarks.pictures import random_weights, rig
from benchmarks.pictures.section import Section
from benchmarks.table import quantile
from sd_runtime.engine.loop import Engine
from sd_runtime.tasks.txt2img import Txt2Img

COUNT = 32
REPEATS = 3
SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "Heun")
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle", "star")

Latencies = list[float]


@dataclass(frozen=True, slots=True)
class Scene:
    """The files that are served, and the sizes that are asked for."""

    name: str
    lay_out: Callable[[Path], None]
    loras: tuple[str, ...]
    sizes: tuple[int, ...]


DEMO = Scene("the demo's checkpoint", rig.lay_out, tuple(rig.LORAS.values()), (64, 96))
FULL_SIZE = Scene(
    "a checkpoint of Stable Diffusion 1.5's size", random_weights.lay_out, random_weights.LORAS, (512, 640)
)


def measure() -> Section:
    """Pictures a second and how long a request takes, each way."""
    return _measure(DEMO)


def measure_full_size() -> Section:
    """The same of full-size networks."""
    return _measure(FULL_SIZE)


def _measure(scene: Scene) -> Section:
    found: dict[str, list[tuple[float, Latencies]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scene.lay_out(root)
        requests = _requests(root, scene)
        with rig.engine(root / rig.CHECKPOINT, root=root, calls=rig.Calls(), max_batch=16) as engine:
            ways = {
                "by evaluation": _together,
                "static batches": _static_batches,
                "one at a time": _one_at_a_time,
            }
            _together(engine, requests)  # warms up, and learns how large calls pay
            for _ in range(REPEATS):
                for name, way in ways.items():
                    began = time.perf_counter()
                    latencies = way(engine, requests)
                    found.setdefault(name, []).append((time.perf_counter() - began, latencies))
    return _section(found, scene, len({_alike(request) for request in requests}))


def _section(found: dict[str, list[tuple[float, Latencies]]], scene: Scene, batches: int) -> Section:
    rates = {name: statistics.median(COUNT / seconds for seconds, _ in runs) for name, runs in found.items()}
    slowest = rates["one at a time"]
    rows = []
    for name, runs in found.items():
        latencies = [each for _, run in runs for each in run]
        rows.append(
            (
                name,
                f"{rates[name]:.2f}",
                f"{rates[name] / slowest:.2f}x",
                f"{quantile(latencies, 0.5):.1f} s",
                f"{quantile(latencies, 0.99):.1f} s",
            )
        )
    return Section(
        f"{COUNT} mixed requests at once, {scene.name}",
        ("way", "pictures/s", "ratio", "p50", "p99"),
        rows,
        f"Samplers {', '.join(SAMPLERS)}; 10 to 40 steps; prompts and seeds all different; no LoRA, one of"
        f" two, or both; {' and '.join(f'{side}x{side}' for side in scene.sizes)}."
        " A static batch holds requests of one sampler, number of steps, size"
        f" and LoRAs that are waiting together: here {batches} batches."
        f" Median of {REPEATS} runs by turns; latencies of all of them.",
    )


def _requests(root: Path, scene: Scene) -> list[Txt2Img]:
    random = Random(7)
    loras = [root / place for place in scene.loras]
    return [
        rig.picture(
            prompt=f"a large {random.choice(COLOURS)} {random.choice(SHAPES)}, white background",
            seed=seed,
            size=random.choice(scene.sizes),
            steps=random.choice((10, 20, 30, 40)),
            sampler=random.choice(SAMPLERS),
            loras=random.choice(([], loras[:1], loras[1:], loras)),
        )
        for seed in range(COUNT)
    ]


def _together(engine: Engine, requests: Sequence[Txt2Img]) -> Latencies:
    began = time.perf_counter()
    latencies: Latencies = []
    tickets = [engine.submit(request) for request in requests]
    for ticket in tickets:
        ticket.future.add_done_callback(lambda _: latencies.append(time.perf_counter() - began))
    rig.wait(tickets)
    return latencies


def _alike(request: Txt2Img) -> tuple[object, ...]:
    guided = request.guided
    uses = tuple(sorted(str(use.path) for use in guided.adapters))
    return guided.sampler, guided.steps, request.width, uses


def _static_batches(engine: Engine, requests: Sequence[Txt2Img]) -> Latencies:
    """All that are alike go together; one batch after the other."""
    began = time.perf_counter()
    latencies: Latencies = []
    for _, batch in groupby(sorted(requests, key=_alike), key=_alike):
        tickets = [engine.submit(request) for request in batch]
        rig.wait(tickets)
        latencies += [time.perf_counter() - began] * len(tickets)
    return latencies


def _one_at_a_time(engine: Engine, requests: Sequence[Txt2Img]) -> Latencies:
    began = time.perf_counter()
    latencies: Latencies = []
    for request in requests:
        rig.wait([engine.submit(request)])
        latencies.append(time.perf_counter() - began)
    return latencies
