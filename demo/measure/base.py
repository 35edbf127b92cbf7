"""How the base checkpoint follows prompts: samplers, CFG scales, combinations, two figures, sizes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from demo.draw import captions, scenes
from demo.draw.scenes import NEVER_TOGETHER, Scene
from demo.measure import pipelines, sheets, table
from demo.measure.bench import Bench, held_out_prompts
from demo.measure.pipelines import DEFAULT, SAMPLERS
from demo.measure.table import Table

CFG_SCALES = (1.0, 3.0, 5.0, 7.0)
CFG_CHOICES = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0)
REFERENCES, REFERENCE_SEED = 8, 21  # pictures in reference.png, and what chooses their prompts


def reference(pipeline: Any, path: Path) -> None:
    """Keeps what the trained networks themselves draw, before they become a file."""
    pixels = pipelines.generate(pipeline, held_out_prompts(REFERENCES, seed=REFERENCE_SEED))
    strip = torch.cat(list(pixels), dim=2).permute(1, 2, 0)
    Image.fromarray(strip.numpy()).save(path, optimize=True)


def base(bench: Bench) -> list[Table]:
    """Following the prompt: samplers, CFG scales, combinations, two figures, sizes."""
    pipeline = pipelines.checkpoint(models=bench.models)
    tables = [
        _choice_of_cfg(bench, pipeline),
        _samplers(bench, pipeline),
        _combinations(bench, pipeline),
        _pairs(bench, pipeline),
        _sizes(bench, pipeline),
    ]
    shown = pipelines.generate(pipeline, held_out_prompts(bench.prompts)[:96])
    bench.sheet("demo-sd15", sheets.grid(shown))
    return tables


def _samplers(bench: Bench, pipeline: Any) -> Table:
    """Samplers and CFG scales; at the chosen scale all prompts, at the others the first half of them."""
    prompts = held_out_prompts(bench.prompts)
    rows = []
    for sampler in SAMPLERS:
        for cfg in CFG_SCALES:
            asked = prompts if cfg == DEFAULT.cfg else prompts[: len(prompts) // 2]
            pixels = pipelines.generate(pipeline, asked, DEFAULT.but(sampler=sampler, cfg=cfg))
            rows.append((f"{sampler}, CFG {cfg:g}", bench.shares(pixels, asked)))
            print(f"measure: demo-sd15, {rows[-1]}", flush=True)
    says = (
        f"{len(prompts)} prompts of one figure in combinations never shown in training, 20 steps, 64x64 (the"
        f" first half of them where CFG is not {DEFAULT.cfg:g}):"
    )
    return table.of_shares(says, "sampler", rows)


def _choice_of_cfg(bench: Bench, pipeline: Any) -> Table:
    """What the CFG scale was chosen by: other prompts and seeds than those that are reported."""
    prompts = held_out_prompts(max(1, bench.prompts // 4), seed=6)
    rows = []
    for cfg in CFG_CHOICES:
        settings = DEFAULT.but(cfg=cfg, first_seed=10_000)
        rows.append((f"{cfg:g}", bench.shares(pipelines.generate(pipeline, prompts, settings), prompts)))
    says = (
        f"The CFG scale {DEFAULT.cfg:g} was chosen once, by {len(prompts)} other prompts and seeds (Euler):"
    )
    return table.of_shares(says, "CFG", rows)


def _combinations(bench: Bench, pipeline: Any) -> Table:
    """How much it matters that a combination was never shown."""
    rng = random.Random(8)

    def never_together(scene: Scene) -> bool:
        return any((figure.colour, figure.shape) in NEVER_TOGETHER for figure in scene.figures)

    held_out = scenes.HELD_OUT_SINGLES
    kinds: dict[str, list[Scene]] = {
        "shown in training": [s for s in scenes.SINGLES if not scenes.is_held_out(s)],
        "held out, colour and shape known together": [s for s in held_out if not never_together(s)],
        "held out, colour and shape never together": [s for s in held_out if never_together(s)],
    }
    rows = []
    for name, choices in kinds.items():
        chosen = rng.sample(choices, min(2 * bench.companions, len(choices)))
        prompts = [captions.plain(scene) for scene in chosen]
        rows.append((name, bench.shares(pipelines.generate(pipeline, prompts), prompts)))
    return table.of_shares("Known and unknown combinations (Euler, CFG 3):", "combination", rows)


def _pairs(bench: Bench, pipeline: Any) -> Table:
    """Two figures with a relation, all held out."""
    rng = random.Random(9)
    chosen = [scenes.draw_held_out_pair(rng) for _ in range(bench.prompts // 2)]
    prompts = [captions.plain(scene) for scene in chosen]
    rows = []
    for name, settings in (("64x64", DEFAULT), ("96x96", DEFAULT.but(width=96, height=96))):
        rows.append((name, bench.shares(pipelines.generate(pipeline, prompts, settings), prompts)))
    return table.of_shares(
        f"Two figures, {len(prompts)} held-out prompts; an attribute counts when it is right of both:",
        "size",
        rows,
    )


def _sizes(bench: Bench, pipeline: Any) -> Table:
    """From the size it was trained around to what clients ask for by default."""
    rows = []
    for width, height, share in (
        (64, 64, 1), (96, 64, 1), (64, 96, 1), (96, 96, 1), (128, 128, 1), (256, 256, 4), (512, 512, 16)
    ):  # fmt: skip
        prompts = held_out_prompts(max(2, bench.companions // share), seed=10)
        pixels = pipelines.generate(pipeline, prompts, DEFAULT.but(width=width, height=height))
        rows.append((f"{width}x{height} ({len(prompts)} prompts)", bench.shares(pixels, prompts)))
        if (width, height) in ((128, 128), (256, 256), (512, 512)):
            sheets.sheet([pixels[:4]]).save(bench.models / f"demo-sd15/sheet-{width}.png", optimize=True)
    return table.of_shares("Other sizes (Euler, CFG 3):", "width x height", rows)
