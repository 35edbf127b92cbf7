"""A checkpoint of Stable Diffusion 1.5's size with random weights: loading it, and computing with it beside
plain diffusers.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pictures import random_weights, rig
from benchmarks.pictures.section import Section
from benchmarks.rig.processes import ROOT

#: As people use a GPU; on a processor small, or one call would take a minute on two cores.
SIZE, STEPS = (512, 20) if torch.cuda.is_available() else (256, 4)
REPEATS = 7 if torch.cuda.is_available() else 3

PACKAGES = (".", "modelfiles", "operator", "runtime")

LOADER = """
import json, sys, time
from pathlib import Path
import torch
on_gpu = torch.cuda.is_available()
def settled():
    # Nothing is under way on the device any more; the first call also makes CUDA's context.
    if on_gpu:
        torch.ones(1, device="cuda").sum().item()
    return time.perf_counter()
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
{prepare}
settled()
before, began = peak(), settled()
{load}
seconds = settled() - began
print(json.dumps(dict(seconds=seconds, peak=peak() - before, bytes=size)))
"""
OURS = (
    """
from sd_runtime import device
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache
chosen = device.choose("auto")
""",
    """
model = checkpoint.load(Path(sys.argv[1]), chosen, DigestCache())
size = sum(p.nbytes for n in (model.unet, model.vae, model.text.network) for p in n.parameters())
""",
)
DIFFUSERS = (
    """
from diffusers import StableDiffusionPipeline
""",
    """
pipe = StableDiffusionPipeline.from_single_file(sys.argv[1], config=sys.argv[2], local_files_only=True,
                                                torch_dtype=torch.float16 if on_gpu else torch.float32,
                                                safety_checker=None).to("cuda" if on_gpu else "cpu")
size = sum(p.nbytes for n in (pipe.unet, pipe.vae, pipe.text_encoder) for p in n.parameters())
""",
)


def measure_loading() -> Section:
    """Seconds and memory of a load, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder) / "sd15-shaped.safetensors", Path(folder) / "config"
        random_weights.write_checkpoint(path)
        random_weights.write_config(config)
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(REPEATS):
            for name, (prepare, load) in {
                "sd-runtime": OURS,
                "diffusers from_single_file": DIFFUSERS,
            }.items():
                found.setdefault(name, []).append(
                    _run(LOADER.format(prepare=prepare, load=load), path, config)
                )
    rows = []
    for name, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        ratio = statistics.median(run["peak"] / run["bytes"] for run in runs)
        target = "≤ 1.3x" if name == "sd-runtime" else "-"
        rows.append(
            (name, f"{seconds:.1f} s", f"{runs[0]['bytes'] / 2**30:.2f} GiB", f"{ratio:.2f}x", target)
        )
    return Section(
        "Loading a float16 file of Stable Diffusion 1.5's size"
        + (" onto the GPU" if torch.cuda.is_available() else " as float32"),
        ("by", "seconds", "weights", "peak RSS / weights", "target"),
        rows,
        "The runtime also hashes every byte that it reads; diffusers maps the file and does not.",
    )


def _run(script: str, *arguments: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*PACKAGES, os.environ.get("PYTHONPATH", "")]),
            "HF_HUB_OFFLINE": "1",
        },
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_paired() -> Section:
    """The same picture by the engine and by a plain diffusers pipeline around the very same networks; on a
    GPU also by an engine that compiles the network's blocks."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as engines:
        root = Path(folder)
        path = root / rig.CHECKPOINT
        path.parent.mkdir(parents=True)
        random_weights.write_checkpoint(path)

        def engine(**options: Any) -> Any:
            return engines.enter_context(rig.engine(path, root=root, calls=rig.Calls(), **options))

        def picture_by(engine: Any) -> None:
            rig.wait([engine.submit(rig.picture(size=SIZE, steps=STEPS))])

        plain = engine()
        ways: dict[str, Callable[[], None]] = {
            "diffusers": _pipeline(_model_of(plain, path)),
            "sd-runtime": partial(picture_by, plain),
        }
        if torch.cuda.is_available():
            ways["sd-runtime, blocks compiled"] = partial(picture_by, engine(compile=True))
        found = _by_turns(ways)
    theirs = found["diffusers"]
    rows = []
    for name, seconds in found.items():
        pairs = [base / own for base, own in zip(theirs, seconds, strict=True)]
        target = "≥ 0.95x" if name == "sd-runtime" else "-"
        rows.append((name, f"{statistics.median(seconds):.2f} s", f"{statistics.median(pairs):.3f}x", target))
    return Section(
        f"One picture, {SIZE}x{SIZE}, Euler, {STEPS} steps with guidance, Stable Diffusion 1.5's shape",
        ("by", "seconds", "as fast as diffusers", "target"),
        rows,
        f"The same networks in one process, by turns; medians of {REPEATS} turns, the ratio turn by turn.",
    )


def _by_turns(ways: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(REPEATS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            found[name].append(time.perf_counter() - began)
    return found


def _model_of(engine: Any, path: Path) -> Any:
    """The resident networks, from a task: nothing else sees them."""
    seen: list[Any] = []

    class Look:
        checkpoint = None

        def run(self, model: Any, on_step: Any) -> Any:
            from sd_runtime.engine.work import Encode, Made

            seen.append(model)
            yield Encode("")
            return Made(np.zeros((8, 8, 3), np.uint8))

    rig.wait([engine.submit(Look())])
    return seen[0]


def _pipeline(model: Any) -> Callable[[], None]:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    pipe = StableDiffusionPipeline(
        vae=model.vae, text_encoder=model.text.network, tokenizer=model.tokenizer, unet=model.unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)

    def run() -> None:
        with torch.inference_mode():
            # The autoencoder is wider than the rest on a GPU, which the pipeline does not foresee.
            latents = pipe(
                "a large red circle on the left, white background",
                width=SIZE, height=SIZE, num_inference_steps=STEPS, guidance_scale=3.0,
                generator=torch.Generator().manual_seed(1), output_type="latent",
            )[0]  # fmt: skip
            pixels = model.vae.decode(latents.to(model.vae.dtype) / model.latent_scale, return_dict=False)[0]
            pipe.image_processor.postprocess(pixels)

    return run
