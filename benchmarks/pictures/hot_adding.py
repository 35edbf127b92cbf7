"""How soon a LoRA that was just put onto the volume can be used, and what changing between LoRAs costs."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pictures import rig
from benchmarks.pictures.section import Section
from sd_modelfiles.kinds import ModelType
from sd_runtime.models.library import Library

REPEATS = 5


def measure() -> Section:
    """Beside diffusers, which loads a LoRA into its pipeline and switches between those that are there."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rig.lay_out(root)
        with rig.engine(root / rig.CHECKPOINT, root=root, calls=rig.Calls()) as engine:
            added = [_hot_add(engine, root, number) for number in range(REPEATS)]
            switched = _switch(engine, root)
        theirs_added, theirs_switched = _diffusers(root)
    rows = [
        ("file in its folder → picture with it", _ms(added), _ms(theirs_added), "≤ 2 s"),
        ("another LoRA than the picture before", _ms(switched), _ms(theirs_switched), "-"),
    ]
    return Section(
        "LoRA of rank 8 on the demo's checkpoint, one step",
        ("what", "sd-runtime", "diffusers with peft", "target"),
        rows,
        "Both make the picture, too; diffusers' figures are of its pipeline around the same networks:"
        " load_lora_weights, then set_adapters for the switch.",
    )


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ms"


def _hot_add(engine: Any, root: Path, number: int) -> float:
    library = Library([root])
    source = root / rig.LORAS["gilded"]
    content = source.read_bytes()
    target = source.with_name(f"added-{number}.safetensors")
    began = time.perf_counter()
    target.write_bytes(content)
    found = library.find(ModelType.LORA, target.stem)
    assert found is not None
    rig.wait([engine.submit(rig.picture(steps=1, loras=[found.path]))])
    return time.perf_counter() - began


def _switch(engine: Any, root: Path) -> list[float]:
    paths = [root / place for place in rig.LORAS.values()]
    seconds = []
    for number in range(2 * REPEATS):
        began = time.perf_counter()
        rig.wait([engine.submit(rig.picture(steps=1, loras=[paths[number % 2]]))])
        seconds.append(time.perf_counter() - began)
    return seconds[2:]


def _diffusers(root: Path) -> tuple[list[float], list[float]]:
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_single_file(
        str(root / rig.CHECKPOINT),
        config=str(rig.MODELS / "demo-sd15" / "config"),
        local_files_only=True,
        torch_dtype=torch.float32,
        safety_checker=None,
    )
    pipe.set_progress_bar_config(disable=True)

    def picture() -> None:
        with torch.inference_mode():
            pipe("a large red circle on the left, white background", width=64, height=64,
                 num_inference_steps=1, guidance_scale=3.0)  # fmt: skip

    picture()
    added, switched = [], []
    names = []
    for name, place in rig.LORAS.items():
        began = time.perf_counter()
        pipe.load_lora_weights(str(root / place), adapter_name=name)
        pipe.set_adapters([name])
        picture()
        added.append(time.perf_counter() - began)
        names.append(name)
    for number in range(2 * REPEATS):
        began = time.perf_counter()
        pipe.set_adapters([names[number % 2]])
        picture()
        switched.append(time.perf_counter() - began)
    return added, switched
