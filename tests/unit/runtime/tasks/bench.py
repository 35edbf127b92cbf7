"""An engine of one task, with networks that are formulas: what a task asked for is on record, and its picture
can be foretold.

A text's estimate is a constant, whatever the noise; latents are pictures made smaller by 8, and decoding is
the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sd_runtime.engine.work import (
    Apart,
    Decode,
    Encode,
    EncodeImage,
    Estimate,
    Evaluate,
    Host,
    Interrupted,
    Made,
    Step,
    Upscale,
    UseCheckpoint,
)
from sd_runtime.models import discrete

SERVED = Path("served.safetensors")
#: Latents of a channel go from -1 (black) to 1 (white).
CHANNELS = 4


def model(
    path: Path = SERVED, *, family: str = "SD15", latent_scale: float = 0.18215, extra_channels: int = 0
) -> Any:
    """What a task sees of a checkpoint."""
    return SimpleNamespace(
        loaded=SimpleNamespace(path=path, family=family),
        device=SimpleNamespace(handle=torch.device("cpu")),
        discrete=discrete.scaled_linear(start=0.00085, end=0.012),
        latent_channels=CHANNELS,
        latent_stride=8,
        latent_scale=latent_scale,
        extra_channels=extra_channels,
        latent_shape=lambda *, width, height: (CHANNELS, height // 8, width // 8),
    )


@dataclass(frozen=True)
class Text:
    """A text as this engine encodes it."""

    text: str
    negative: bool
    checkpoint: Path
    embeddings: tuple[tuple[str, str], ...] = ()


def brightness(text: str) -> float:
    """What a text draws, from -1 to 1: the number in it, or else the middle."""
    numbers = [word for word in text.replace(",", " ").split() if word.lstrip("-").replace(".", "").isdigit()]
    return float(numbers[0]) if numbers else 0.0


def encode(pixels: np.ndarray) -> torch.Tensor:
    """Eight by eight pixels to one latent; all channels but the first three are 0."""
    height, width = pixels.shape[0] // 8, pixels.shape[1] // 8
    blocks = pixels.reshape(height, 8, width, 8, 3).mean(axis=(1, 3)) / 127.5 - 1
    latents = torch.zeros(1, CHANNELS, height, width)
    latents[0, :3] = torch.from_numpy(blocks.transpose(2, 0, 1).astype(np.float32))
    return latents


def decode(latents: torch.Tensor) -> np.ndarray:
    """The way back."""
    blocks = ((latents[0, :3].numpy().transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


@dataclass
class Bench:
    """Runs a task to its end."""

    models: dict[Path, Any] = field(default_factory=dict)
    #: Estimates before the task is told to come to an end.
    interrupt_after: int | None = None
    estimate: Callable[[Evaluate], torch.Tensor] | None = None
    model: Any = None
    done: list[Any] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    #: The checkpoint at each piece of work.
    checkpoints: list[Path] = field(default_factory=list)

    @torch.inference_mode()
    def run(self, task: Any) -> Made:
        """Answers the task's work until it returns."""
        self.model = self.model or model()
        story = task.run(self.model, self.steps.append)
        answer = None
        told = False
        while True:
            try:
                work = story.send(answer)
                # Only while it waits for one of these, as in the engine.
                if not told and isinstance(work, Encode | Evaluate) and self._is_to_end():
                    told = True
                    work = story.throw(Interrupted())
            except StopIteration as finished:
                return finished.value
            self.done.append(work)
            self.checkpoints.append(self.model.loaded.path)
            answer = self._answer(work)

    def of(self, kind: type) -> list[Any]:
        """All work of one kind, in order."""
        return [work for work in self.done if isinstance(work, kind)]

    def _is_to_end(self) -> bool:
        return self.interrupt_after is not None and len(self.of(Evaluate)) >= self.interrupt_after

    def _answer(self, work: Any) -> Any:
        match work:
            case Encode():
                found = (("trigger", "abc"),) if "trigger" in work.text else ()
                return Text(work.text, work.negative, self.model.loaded.path, found)
            case Evaluate():
                return self._estimate(work)
            case EncodeImage():
                return encode(work.pixels)
            case Decode():
                return decode(work.latents)
            case Upscale():
                return work.pixels.repeat(2, axis=0).repeat(2, axis=1)
            case UseCheckpoint():
                self.model = self.models[work.path]
                return self.model
            case Host() | Apart():
                return work.call()
        raise AssertionError(f"no such work: {work}")

    def _estimate(self, work: Evaluate) -> Estimate:
        if self.estimate is not None:
            return Estimate(self.estimate(work))
        base = brightness(work.uncond.text if work.uncond else work.conds[0][0].text)
        value = base + sum(weight * work.cfg_scale * (brightness(c.text) - base) for c, weight in work.conds)
        unguided = torch.full_like(work.x, base) if work.uncond else None
        return Estimate(torch.full_like(work.x, value), unguided)
