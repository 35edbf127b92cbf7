"""What a running task may ask of the engine, and what a task is to it: plain data and protocols.

A task is a generator. It yields pieces of work and is sent their answers; what it returns is the picture. The
engine knows nothing else about it, so that every kind of task joins the same batches. Importable without
torch.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from sd_runtime.adapters.uses import AdapterUse
from sd_runtime.prompt.settings import TextSettings
from sd_runtime.sampling.estimate import Estimate

if TYPE_CHECKING:
    import torch

    from sd_runtime.models.controlling import ControlMap
    from sd_runtime.models.network import Model
    from sd_runtime.prompt.encoding import Conditioning

__all__ = [
    "ActiveControl",
    "Apart",
    "Decode",
    "Elsewhere",
    "Encode",
    "EncodeImage",
    "Estimate",
    "Evaluate",
    "Host",
    "Interrupted",
    "Made",
    "OnPicture",
    "OnStep",
    "Pixels",
    "Step",
    "Task",
    "TaskRun",
    "Unneeded",
    "Upscale",
    "UseCheckpoint",
    "Work",
]

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB


class Interrupted(Exception):
    """Thrown into a task that is to come to its end early: it returns what it has so far."""


class Unneeded(Enum):
    """Stands where a checkpoint would be named."""

    CHECKPOINT = "none is needed"


@dataclass(frozen=True, slots=True)
class Encode:
    """Text to conditioning: one text as it stands at one step, without schedules, AND and extra networks.
    Answer: `Conditioning`."""

    text: str
    settings: TextSettings = field(default_factory=TextSettings)
    adapters: tuple[AdapterUse, ...] = ()
    negative: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ActiveControl:
    """A ControlNet that takes part in an evaluation."""

    network: Path
    #: The same for all evaluations of a pass, so that it is prepared once.
    shown: "ControlMap"
    weight: float
    #: The less of it the finer a layer is.
    soft: bool = False
    #: Not for the negative prompt.
    prompt_only: bool = False
    #: What a request calls the network, for what is wrong with its file.
    field: str = "model"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluate:
    """One model evaluation at one noise level: the unit of batching. Answer: `Estimate`.

    With guidance denoised = uncond + cfg_scale * sum of weight * (cond - uncond) over the texts.
    """

    x: "torch.Tensor"  # (1, C, H, W), float32
    sigma: float
    conds: "tuple[tuple[Conditioning, float], ...]"  # each text and its weight; several with AND
    uncond: "Conditioning | None"  # None: no guidance, one row instead of two
    cfg_scale: float
    adapters: tuple[AdapterUse, ...] = ()
    #: The further input channels of a network that has them (inpainting): mask and masked latents.
    concat: "torch.Tensor | None" = None  # (1, K, H, W)
    #: The picture's edges meet: convolutions pad by wrapping around.
    tiling: bool = False
    #: What the task will need next and no device: another thread may do it until the answer is there. It is
    #: never under way while the task runs, and not done at all where no thread was free.
    meanwhile: Callable[[], None] | None = None
    controls: tuple[ActiveControl, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class EncodeImage:
    """A picture to latents, the mean of the autoencoder's distribution. Answer: (1, C, H/8, W/8), float32."""

    pixels: Pixels
    #: A VAE's file; None: the checkpoint's own.
    vae: Path | None = None
    tiling: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Decode:
    """Latents to a picture. Answer: `Pixels`."""

    latents: "torch.Tensor"  # (1, C, H, W)
    vae: Path | None = None
    tiling: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Upscale:
    """A picture through an upscaler's network, in overlapping tiles. Answer: `Pixels`, larger by the
    network's own factor."""

    upscaler: Path
    pixels: Pixels
    #: Side of a tile in pixels of the input; 0: as large as is served, which is a small picture as a whole.
    tile: int = 192
    overlap: int = 8


@dataclass(frozen=True, slots=True)
class UseCheckpoint:
    """From here on another checkpoint does this task's work. Answer: its `Model`."""

    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """Work that needs no device and would keep it waiting; done by another thread. Answer: what it
    returns."""

    call: Callable[[], Any]
    #: Who asks while a call with this very object is under way waits for that one; None: nobody else does.
    key: object = None


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """Work that waits for another process and not for a processor; many of it are done at a time. Answer:
    what it returns."""

    call: Callable[[], Any]
    #: Who asks while a call with this very object is under way waits for that one, whose answer all share.
    key: object
    #: Whom it waits for. Of those who wait for the same few are asking at a time, so that one who never
    #: answers leaves threads to the others; None: it does not matter.
    lane: str | None = None


#: What is done to one picture, a large one's tile by tile.
OnPicture = Decode | EncodeImage | Upscale
#: What other threads do, and not the device's.
Elsewhere = Host | Apart
Work = Encode | Evaluate | OnPicture | UseCheckpoint | Elsewhere


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Where a task stands: steps of the pass under way, and which pass of how many over the latents."""

    done: int
    of: int
    part: int = 0
    parts: int = 1
    #: The network's last estimate, from which a preview can be made.
    denoised: "torch.Tensor | None" = None


OnStep = Callable[[Step], None]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What a task returns."""

    pixels: Pixels
    #: Of the textual inversions that its texts named: trigger and short hash.
    embeddings: tuple[tuple[str, str], ...] = ()
    #: It came to its end early: the picture is what there was by then.
    interrupted: bool = False
    #: The picture before the second pass, where one was asked for.
    first_pass: Pixels | None = None


TaskRun = Generator[Work, Any, Made]


class Task(Protocol):
    """Something the engine can run."""

    @property
    def checkpoint(self) -> Path | Unneeded | None:
        """The checkpoint that it begins with; None: the one that is served. A task that needs none asks for
        nothing but `Upscale`, `Host` and `Apart`; it waits for no checkpoint and keeps none in memory."""
        ...

    def run(self, model: "Model", on_step: OnStep) -> TaskRun:
        """The task as a generator; called and advanced on the device thread only. One that needs no
        checkpoint is given None."""
        ...
