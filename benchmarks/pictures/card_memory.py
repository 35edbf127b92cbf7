"""What a GPU's memory holds at most for requests of several sizes, of Stable Diffusion 1.5's shape."""

import tempfile
from pathlib import Path

import torch

from benchmarks.pictures import random_weights, rig
from benchmarks.pictures.section import Section
from sd_runtime import device

STEPS = 3
#: Pictures at once, and their side in pixels.
REQUESTS = ((1, 512), (4, 512), (8, 512), (16, 512), (1, 768), (1, 1024), (4, 1024), (1, 1536), (1, 2048))
GIB = 2**30


def measure() -> Section:
    """Peak memory by request, on a card with room for everything."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        random_weights.lay_out(root)
        options = {"max_batch": 16, "measured_batch": False}
        with rig.engine(root / rig.CHECKPOINT, root=root, calls=rig.Calls(), **options) as engine:
            held = _memory().allocated
            rows = [("the checkpoint alone", _gib(held), "-")]
            for count, side in REQUESTS:
                tasks = [rig.picture(size=side, steps=STEPS, seed=seed) for seed in range(count)]
                rig.wait([engine.submit(task) for task in tasks])  # learns, and warms up
                # What the allocator took it keeps, so that afterwards it tells the most that was needed.
                torch.cuda.empty_cache()
                rig.wait([engine.submit(task) for task in tasks])
                taken = _memory().reserved
                rows.append((f"{count} of {side}x{side}", _gib(taken), _gib(taken - held)))
    return Section(
        "Memory of the GPU, Stable Diffusion 1.5's shape",
        ("request", "taken at most", "beyond the weights"),
        rows,
        "Without CUDA's own context, 0.3 to 0.6 GiB of a card. On a card with less free memory calls"
        " and tiles are smaller.",
    )


def _memory() -> device.DeviceMemory:
    memory = device.memory()
    assert memory is not None, "this part is measured on a GPU only"
    return memory


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
