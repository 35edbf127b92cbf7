"""What a running task may ask of the device thread, and what a task is to the engine: plain data and
protocols.

A task is a generator. It yields `Encode`, `Evaluate` or `Decode` and is sent the answer; what it returns is
the picture. The engine knows nothing else about it, so every later kind of task joins the same batches.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from sd_runtime.models.network import Model
    from sd_runtime.prompt.encoding import Conditioning


OnStep = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Encode:
    """Text to conditioning. Answer: `Conditioning`."""

    text: str
    clip_skip: int
    negative: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Evaluate:
    """One model evaluation at one noise level: the unit of batching. Answer: the denoised latents, like
    `x`.
    """

    x: "torch.Tensor"  # (1, C, H, W), float32
    sigma: float
    cond: "Conditioning"
    uncond: "Conditioning | None"  # None: no guidance, one row instead of two
    cfg_scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Decode:
    """Latents to a picture. Answer: uint8 array, height x width x 3."""

    latents: "torch.Tensor"  # (1, C, H, W)


Work = Encode | Evaluate | Decode
TaskRun = Generator[Work, Any, "npt.NDArray[np.uint8]"]


class Task(Protocol):
    """Something the engine can run."""

    def run(self, model: "Model", on_step: OnStep) -> TaskRun:
        """The task as a generator; called and advanced on the device thread only."""
        ...
