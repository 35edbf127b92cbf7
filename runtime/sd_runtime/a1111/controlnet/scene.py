"""What of a request its units are decided by: plain data."""

from dataclasses import dataclass

from sd_modelfiles.family import Family
from sd_runtime.engine.work import Pixels
from sd_runtime.images.resizing import Size
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins
from sd_runtime.tasks.recipe import Mask, ResizeMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass over the latents: its size, the checkpoint that draws (its family None: not known), and the
    refiner that does so in its place from the first step on, where that one is of another family."""

    size: Size
    checkpoint: str
    family: Family | None
    refiner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What of a request its units are decided by."""

    library: Library
    plugins: Plugins
    first: Pass
    #: Of hires fix.
    second: Pass | None = None
    #: Of img2img: what is drawn over, and how it is resized.
    images: tuple[Pixels, ...] = ()
    resize_mode: ResizeMode = ResizeMode.STRETCH
    mask: Mask | None = None
    #: Of the request.
    pictures: int
    #: The most units that may be on.
    most: int
