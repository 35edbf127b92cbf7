"""A checkpoint of Stable Diffusion 1.5's size with random weights: loading it, and computing with it beside
plain diffusers.
"""

import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import rig
from benchmarks.pictures.section import Section
from benchmarks.rig.processes import ROOT

#: Small, or one call would take a minute on two cores; the network's weights are what counts.
SIZE = 256
STEPS = 4
REPEATS = 3

LOADER = """
import json, sys, time
from pathlib import Path
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
{prepare}
before, began = peak(), time.perf_counter()
{load}
seconds = time.perf_counter() - began
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
import torch
from diffusers import StableDiffusionPipeline
""",
    """
pipe = StableDiffusionPipeline.from_single_file(sys.argv[1], config=sys.argv[2], local_files_only=True,
                                                torch_dtype=torch.float32, safety_checker=None)
size = sum(p.nbytes for n in (pipe.unet, pipe.vae, pipe.text_encoder) for p in n.parameters())
""",
)


def measure_loading() -> Section:
    """Seconds and memory of a load, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder) / "sd15-shaped.safetensors", Path(folder) / "config"
        write_checkpoint(path)
        write_config(config)
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
        "Loading a float16 file of Stable Diffusion 1.5's size as float32",
        ("by", "seconds", "weights", "peak RSS / weights", "target"),
        rows,
        "The runtime also hashes every byte that it reads; diffusers maps the file and does not.",
    )


def _run(script: str, *arguments: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ".:modelfiles:operator:runtime", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_paired() -> Section:
    """The same picture by the engine and by a plain diffusers pipeline around the very same networks."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = root / rig.CHECKPOINT
        path.parent.mkdir(parents=True)
        write_checkpoint(path)
        with rig.engine(path, root=root, calls=rig.Calls()) as engine:
            model = _model_of(engine, path)
            ways: dict[str, Callable[[], None]] = {
                "sd-runtime": lambda: rig.wait([engine.submit(rig.picture(size=SIZE, steps=STEPS))]),
                "diffusers": _pipeline(model),
            }
            found: dict[str, list[float]] = {}
            for way in ways.values():
                way()
            for _ in range(REPEATS):
                for name, way in ways.items():
                    began = time.perf_counter()
                    way()
                    found.setdefault(name, []).append(time.perf_counter() - began)
    pairs = [theirs / ours for ours, theirs in zip(found["sd-runtime"], found["diffusers"], strict=True)]
    rows = [(name, f"{statistics.median(seconds):.2f} s", "-", "-") for name, seconds in found.items()]
    rows.append(("diffusers / sd-runtime, by pairs", "-", f"{statistics.median(pairs):.3f}x", "≥ 0.95x"))
    return Section(
        f"One picture, {SIZE}x{SIZE}, Euler, {STEPS} steps with guidance, Stable Diffusion 1.5's shape",
        ("by", "seconds", "ratio", "target"),
        rows,
        f"The same networks in one process, by turns; median of {REPEATS}.",
    )


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
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    pipe = StableDiffusionPipeline(
        vae=model.vae, text_encoder=model.text.network, tokenizer=model.tokenizer, unet=model.unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)

    def run() -> None:
        with torch.inference_mode():
            pipe(
                "a large red circle on the left, white background",
                width=SIZE, height=SIZE, num_inference_steps=STEPS, guidance_scale=3.0,
                generator=torch.Generator().manual_seed(1),
            )  # fmt: skip

    return run


def write_checkpoint(path: Path) -> None:
    """A single-file checkpoint of SD 1.5's names and shapes, float16, small random weights; streamed, so that
    it never is in memory whole."""
    shapes = _shapes()
    header, offset = {}, 0
    for name, shape in shapes.items():
        count = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    block = (random.standard_normal(1 << 22, dtype=np.float32) * 0.02).astype(np.float16).tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset > 0:
            file.write(block[:offset])
            offset -= len(block)


def _shapes() -> dict[str, tuple[int, ...]]:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    from demo.export import ldm_keys

    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET).state_dict()
        vae = AutoencoderKL(**VAE).state_dict()
        text = CLIPTextModel(_clip_config()).state_dict()
    weights = {**ldm_keys.unet(unet), **ldm_keys.vae(vae), **ldm_keys.text(text)}
    return {name: tuple(value.shape) for name, value in weights.items() if "position_ids" not in name}


#: Of stable-diffusion-v1-5, as its card's configuration files tell.
UNET: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "norm_num_groups": 32,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "layers_per_block": 2,
    "sample_size": 64,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 512,
}


def _clip_config() -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
    )  # fmt: skip


def write_config(folder: Path) -> None:
    """A diffusers folder without weights, which from_single_file needs offline."""
    import shutil

    source = rig.MODELS / "demo-sd15" / "config"
    shutil.copytree(source, folder)
    for part, changes in (("unet", UNET), ("vae", VAE), ("text_encoder", _clip_config().to_dict())):
        path = folder / part / "config.json"
        known = json.loads(path.read_text()) | changes
        path.write_text(json.dumps(known))
