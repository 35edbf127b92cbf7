"""Tiny ControlNets with random weights for the tiny checkpoints, their files, and pictures drawn by them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from engine_bench import Bench
from safetensors.torch import save_file

from demo.export import ldm_keys
from sd_runtime.engine.work import Decode, Made, OnStep, TaskRun
from sd_runtime.tasks.control import Control, Hint

#: How much a random ControlNet changes of a picture: enough to be seen, too little to blow it up.
LOUDNESS = 0.2
WIDTH, HEIGHT = 96, 64


def network(unet: Any, seed: int, *, loudness: float = LOUDNESS) -> Any:
    """One that steers this U-Net."""
    torch.manual_seed(seed)
    made = ControlNetModel.from_unet(unet)
    with torch.no_grad():
        for part in (*made.controlnet_down_blocks, made.controlnet_mid_block):
            part.weight.normal_(0, loudness / part.weight.shape[0] ** 0.5)
            part.bias.normal_(0, loudness / 10)
        made.controlnet_cond_embedding.conv_out.weight.normal_(0, 5)
    return made.eval()


def file(made: Any, path: Path) -> Path:
    """In LDM's layout."""
    weights = made.state_dict()
    told = {name: weights.pop(name) for name in list(weights) if name.startswith("add_embedding.")}
    places = {"add_embedding.linear_1": "0.0", "add_embedding.linear_2": "0.2"}
    renamed = {
        f"control_model.label_emb.{places[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
        for name, value in told.items()
    }
    return save(ldm_keys.controlnet(weights) | renamed, path)


def save(weights: dict[str, torch.Tensor], path: Path) -> Path:
    save_file({name: value.detach().clone().contiguous() for name, value in weights.items()}, path)
    return path


def map_of(seed: int, *, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray[Any, Any]:
    """Colours in squares."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return squares.repeat(16, axis=0).repeat(16, axis=1)


def control(path: Path, seed: int = 5, **changes: Any) -> Control:
    """With a map that is made of this seed."""
    return Control(network=path, hint=Hint(lambda: map_of(seed)), **changes)


class Recorded:
    """A task that keeps the latents it has decoded."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self.checkpoint = task.checkpoint
        self.latents: list[torch.Tensor] = []
        #: Told of each piece of work before it is done.
        self.on_work: Callable[[Any], None] = lambda work: None

    def run(self, model: Any, on_step: OnStep) -> TaskRun:
        story = self._task.run(model, on_step)
        answer = None
        while True:
            try:
                work = story.send(answer)
            except StopIteration as finished:
                made: Made = finished.value
                return made
            self.on_work(work)
            if isinstance(work, Decode):
                self.latents.append(work.latents.clone())
            answer = yield work


def latents_of(bench: Bench, task: Any) -> torch.Tensor:
    """Those that the task ends with."""
    recorded = Recorded(task)
    bench.alone(recorded)
    return recorded.latents[-1]
