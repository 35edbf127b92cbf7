"""What the LoRAs change, at several weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from demo.draw.drawing import MIDNIGHT
from demo.draw.words import BACKGROUNDS
from demo.export import kohya
from demo.judge.reading import Judge
from demo.measure import pipelines, sheets
from demo.measure.bench import STRENGTHS, Bench, light_prompts
from demo.measure.table import Table, percent
from demo.train.lora import GOLD


def gilded(bench: Bench) -> list[Table]:
    """The LoRA that makes every figure golden."""
    name = "demo-gilded"
    pipeline = with_lora(bench.models, name, load_file(bench.models / name / f"{name}.safetensors"))
    rows, shown = _lora_rows(bench, pipeline, lambda pixels: golden(bench.judge, pixels))
    bench.sheet(name, sheets.sheet(shown))
    return [_lora_table(bench, "golden figures", rows)]


def midnight(bench: Bench) -> list[Table]:
    """The LoRA that makes every background midnight blue; also what its UNet part does alone."""
    name = "demo-midnight"
    weights = load_file(bench.models / name / f"{name}.safetensors")
    rows, shown = _lora_rows(bench, with_lora(bench.models, name, weights), at_midnight)
    unet_only = {key: value for key, value in weights.items() if not key.startswith(kohya.TEXT_PREFIX)}
    (*_, alone), (*_, alone_shown) = _lora_rows(bench, with_lora(bench.models, name, unet_only), at_midnight)
    bench.sheet(name, sheets.sheet([*shown, alone_shown]))
    rows.append(("1, without the text encoder's part", *alone[1:]))
    return [_lora_table(bench, "midnight backgrounds", rows)]


def with_lora(models: Path, name: str, weights: dict[str, torch.Tensor]) -> Any:
    """The base checkpoint with a LoRA, called `demo`."""
    pipeline = pipelines.checkpoint(models=models)
    pipeline.load_lora_weights(dict(weights), adapter_name="demo")
    return pipeline


def _lora_rows(
    bench: Bench, pipeline: Any, measure: Callable[[torch.Tensor], float]
) -> tuple[list[tuple[str, ...]], list[torch.Tensor]]:
    """A row of scores and some pictures for each strength."""
    prompts = light_prompts(bench.companions)
    rows: list[tuple[str, ...]] = []
    shown = []
    for strength in STRENGTHS:
        pipeline.set_adapters("demo", strength)
        pixels = pipelines.generate(pipeline, prompts)
        shares = bench.shares(pixels, prompts)
        kept = (percent(shares[key]) for key in ("shape", "colour", "background"))
        rows.append((f"{strength:g}", percent(measure(pixels)), *kept))
        shown.append(pixels[:12])
    return rows, shown


def _lora_table(bench: Bench, effect: str, rows: Sequence[tuple[str, ...]]) -> Table:
    says = f"{bench.companions} held-out prompts of neither yellow nor black, the same seeds:"
    return Table(says, ("weight", effect, "shape right", "colour right", "background right"), tuple(rows))


def golden(judge: Judge, pixels: torch.Tensor) -> float:
    """The share of pictures whose figures the judge all calls golden."""
    seen = judge.attributes(pixels)
    return sum(all(figure.colour == GOLD for figure in scene.figures) for scene in seen) / len(seen)


def at_midnight(pixels: torch.Tensor) -> float:
    """The share of pictures whose corners are nearer to midnight blue than to any background with a word."""
    tones = torch.tensor([MIDNIGHT, *BACKGROUNDS.values()]).float()
    distances = (corner_tones(pixels)[:, None] - tones).abs().sum(dim=2)
    return float((distances.argmin(dim=1) == 0).float().mean())


def corner_tones(pixels: torch.Tensor) -> torch.Tensor:
    """(count, 3): the median of each picture's corners."""
    corners = torch.stack([pixels[..., y, x] for y in (0, -1) for x in (0, -1)])
    return corners.float().median(dim=0).values
