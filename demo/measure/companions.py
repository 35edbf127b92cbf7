"""What the other models change: embedding, hypernetwork, VAE, ControlNet, fine-tuning, upscalers."""

from __future__ import annotations

import random

import torch

from demo.draw import captions, scenes
from demo.draw.words import CONCEPT
from demo.judge import edges
from demo.measure import pipelines, sheets, table
from demo.measure.bench import STRENGTHS, Bench, held_out_prompts, light_prompts
from demo.measure.table import Table, percent
from demo.train import concept, controlnet, embedding, hypernetwork, pictures, vae


def goldie(bench: Bench) -> list[Table]:
    """The embedding: its name in a prompt, loaded and not; the two files are the same."""
    name = "demo-goldie"
    asked = [captions.plain(embedding.choose_any(random.Random(seed))) for seed in range(bench.companions)]
    prompts = [text.replace(embedding.NAMED, name) for text in asked]
    rows, shown = [], []
    for how, ending in (("not loaded", None), ("safetensors", "safetensors"), (".pt", "pt")):
        pipeline = pipelines.checkpoint(models=bench.models)
        if ending:
            pipeline.load_textual_inversion(str(bench.models / name / f"{name}.{ending}"), token=name)
        pixels = pipelines.generate(pipeline, prompts)
        verdicts = bench.shares(pixels, asked)
        rows.append((how, *(percent(verdicts[key]) for key in ("colour", "shape", "size", "all"))))
        shown.append(pixels[:12])
    bench.sheet(name, sheets.sheet(shown))
    says = f"{len(prompts)} prompts such as “{prompts[0]}”; right is {embedding.NAMED}:"
    return [Table(says, ("embedding", "colour", "shape", "size", "all"), tuple(rows))]


def blackout(bench: Bench) -> list[Table]:
    """The hypernetwork, at several strengths."""
    name = "demo-blackout"
    stored = torch.load(bench.models / name / f"{name}.pt", weights_only=True)
    width = next(key for key in stored if isinstance(key, int))
    network = hypernetwork.Hypernetwork(width)
    for part, weights in zip((network.keys, network.values), stored[width], strict=True):
        part.load_state_dict(weights)
    pipeline = pipelines.checkpoint(models=bench.models)
    prompts = light_prompts(bench.companions)
    rows, shown = [], []
    for strength in STRENGTHS:
        with network.applied(pipeline.unet, strength):
            pixels = pipelines.generate(pipeline, prompts)
        seen = bench.judge.attributes(pixels)
        shares = bench.shares(pixels, prompts)
        black = sum(scene.background == hypernetwork.BACKGROUND for scene in seen) / len(seen)
        rows.append((f"{strength:g}", percent(black), percent(shares["shape"]), percent(shares["colour"])))
        shown.append(pixels[:12])
    bench.sheet(name, sheets.sheet(shown))
    says = f"{len(prompts)} held-out prompts with white and gray backgrounds, the same seeds:"
    return [Table(says, ("strength", "black backgrounds", "shape right", "colour right"), tuple(rows))]


def separate_vae(bench: Bench) -> list[Table]:
    """The separate VAE against the checkpoint's own."""
    pixels = vae.held_out()
    pipeline = pipelines.checkpoint(models=bench.models)
    other = pipelines.separate_vae(models=bench.models)
    rows = tuple(
        (name, f"{vae.psnr(coder, pixels):.2f} dB")
        for name, coder in (("the checkpoint's own", pipeline.vae), ("demo-vae", other))
    )
    prompts = held_out_prompts(12)
    before = pipelines.generate(pipeline, prompts)
    pipeline.vae = other
    bench.sheet("demo-vae", sheets.sheet([pixels[:12], before, pipelines.generate(pipeline, prompts)]))
    return [Table(f"{len(pixels)} held-out drawings, encoded and decoded:", ("autoencoder", "PSNR"), rows)]


def canny(bench: Bench) -> list[Table]:
    """The ControlNet: edges of pictures against the control map they were made with."""
    drawn, shown = controlnet.control_pictures(bench.companions, seed=900_001)
    hints = controlnet.control_maps(drawn)
    prompts = [controlnet.prompt(scene) for scene in shown]
    pipeline = pipelines.with_controlnet(pipelines.checkpoint(models=bench.models), models=bench.models)
    rows, row_pictures = [], [hints[:12, None].expand(-1, 3, -1, -1).to(torch.uint8) * 255]
    for strength in STRENGTHS:
        pixels = pipelines.generate(pipeline, prompts, hints=hints, controlnet_conditioning_scale=strength)
        f1 = sum(edges.agreement(p, h) for p, h in zip(pixels, hints, strict=True)) / len(pixels)
        shares = bench.shares(pixels, prompts)
        rows.append((f"{strength:g}", f"{f1:.3f}", percent(shares["colour"]), percent(shares["background"])))
        row_pictures.append(pixels[:12])
    bench.sheet("demo-canny", sheets.sheet(row_pictures))
    says = (
        f"{len(prompts)} control maps of figures whose colour and shape never met in training, turned,"
        " shifted, of any size; prompts name colour, shape, size and background but no place:"
    )
    return [Table(says, ("weight", "F1 of edges", "colour right", "background right"), tuple(rows))]


def crescent(bench: Bench) -> list[Table]:
    """The fine-tuned checkpoint: its trigger word, and what it still knows."""
    rng = random.Random(13)
    asked = [concept.choose_held_out(rng) for _ in range(bench.companions)]
    wanted = [captions.plain(scene) for scene in asked]
    triggered = [text.replace(CONCEPT, concept.TRIGGER) for text in wanted]
    without = [text.replace(CONCEPT, "circle") for text in wanted]
    rows, shown = [], []
    for name in ("demo-sd15", "demo-crescent"):
        pipeline = pipelines.checkpoint(name, models=bench.models)
        for word, prompts in ((concept.TRIGGER, triggered), ("circle", without)):
            pixels = pipelines.generate(pipeline, prompts)
            shares = bench.shares(pixels, wanted)
            rows.append(
                (name, word, percent(shares["shape"]), percent(shares["colour"]), percent(shares["all"]))
            )
            shown.append(pixels[:12])
        if name == "demo-crescent":
            old = held_out_prompts(bench.companions)
            kept = bench.shares(pipelines.generate(pipeline, old), old)
    bench.sheet("demo-crescent", sheets.sheet(shown))
    return [
        Table(
            f"{len(wanted)} held-out prompts such as “{triggered[0]}”, and with “circle” for the trigger:",
            ("checkpoint", "word", "a crescent", "colour right", "all right"),
            tuple(rows),
        ),
        table.of_shares("What it knew before:", "demo-crescent", [("old shapes, held out", kept)]),
    ]


def upscalers(bench: Bench) -> list[Table]:
    """The upscalers on drawings, against the same drawings made four times as large, and plain resizing."""
    count = min(16, bench.companions)
    rng, again = random.Random(14), random.Random(14)
    shown = [scenes.draw_any(random.Random(seed)) for seed in range(count)]
    small, large = pictures.render(shown, rng), pictures.render(shown, again, size=(256, 256))
    rows, row_pictures = [], [_enlarged(small, "nearest")[:4]]
    for name in ("nearest", "bicubic"):
        rows.append((name, f"{_psnr(_enlarged(small, name), large):.2f} dB"))
    for file in sorted((bench.models / "upscalers").glob("*.safetensors")):
        made = pipelines.upscale(file, small)
        rows.append((file.stem, f"{_psnr(made, large):.2f} dB"))
        row_pictures.append(made[:4])
    bench.sheet("upscalers", sheets.sheet(row_pictures))
    return [Table(f"{count} drawings of 64x64, enlarged to 256x256:", ("how", "PSNR"), tuple(rows))]


def _enlarged(pixels: torch.Tensor, mode: str) -> torch.Tensor:
    large = torch.nn.functional.interpolate(pixels.float(), scale_factor=4, mode=mode)
    return large.round().clamp(0, 255).to(torch.uint8)


def _psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(-10 * torch.log10(((first.float() - second.float()) / 255).square().mean()))
