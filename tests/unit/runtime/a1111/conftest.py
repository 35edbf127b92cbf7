"""A desk at which requests are planned: a library of empty files, some styles, and what a test sets of
options and limits. Nothing is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import small_files

from sd_modelfiles import place
from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import filling, planning
from sd_runtime.a1111.checkpoints import Checkpoint, Shelf
from sd_runtime.a1111.controlnet import reading
from sd_runtime.a1111.controlnet.reading import Given, Shown
from sd_runtime.a1111.limits import Limits
from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.plan import Inputs, Plan
from sd_runtime.a1111.planning import Surroundings
from sd_runtime.a1111.schemas import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from sd_runtime.a1111.stock import Stock
from sd_runtime.engine.work import Made, Pixels
from sd_runtime.jobs.job import Picture
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins
from sd_runtime.prompt.styles import Styles
from sd_runtime.tasks.recipe import Grey

SHA256 = "ab12" * 16
STYLES = """name,prompt,negative_prompt
Ink,"ink drawing of {prompt}, monochrome",colour
Crisp,sharp,blurry
"""


def units_of(request: GenerationRequest) -> tuple[Given, ...]:
    """The units of a request that are on. In place of each picture's text there is its size and, after a
    colon, its brightness, as in "64x32:7"."""
    units = enumerate(reading.units(request.alwayson_scripts))
    return tuple(
        Given(
            index=index,
            unit=unit,
            pictures=tuple(Shown(_drawn(each.image), _mask(each.mask)) for each in reading.sent(index, unit)),
            region=_mask(unit.effective_region_mask),
        )
        for index, unit in units
        if unit.is_active
    )


def _drawn(text: str) -> Pixels:
    size, _, value = text.partition(":")
    width, height = size.split("x")
    return np.full((int(height), int(width), 3), int(value or 0), np.uint8)


def _mask(text: str | None) -> Grey | None:
    """White on the left half, black on the right; of one brightness where that is told."""
    if not text:
        return None
    mask = _drawn(text)[..., 0]
    if ":" not in text:
        mask[:, : mask.shape[1] // 2] = 255
    return mask


@dataclass
class Desk:
    """One server's files; `served` is its checkpoint."""

    root: Path
    library: Library
    served: Checkpoint
    options: Values = field(default_factory=Values)
    limits: Limits = field(default_factory=Limits)
    plugins: Plugins = field(default_factory=Plugins)

    def put(self, model_type: ModelType, name: str) -> Path:
        """A small file in the folder of its type; empty where none shows the type."""
        path = self.root / place.folder_of(model_type) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_files.of(model_type) if model_type in small_files.SHAPES else b"")
        return path

    @property
    def stock(self) -> Stock:
        return Stock(self.library, Shelf(self.library), self.served, self.plugins)

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(
            options=self.options,
            stock=self.stock,
            styles=Styles([self.root / "styles.csv"]),
            limits=self.limits,
            random=Random(1),
        )

    def set(self, **options: Any) -> None:
        """Options, by their attributes."""
        self.options = replace(self.options, **options)

    def put_controlnet(self, name: str, family: Family = Family.SD15) -> Path:
        """A small ControlNet for this family."""
        path = self.put(ModelType.CONTROLNET, f"{name}.safetensors")
        path.write_bytes(small_files.controlnet(family))
        return path

    def txt2img(self, first_pass: Any = None, **body: Any) -> Plan:
        request = filling.filled(Txt2ImgRequest.model_validate(body))
        inputs = Inputs(first_pass=first_pass, units=units_of(request))
        return planning.plan(request, inputs, self.surroundings)

    def img2img(self, images: int = 1, mask: bool | Grey = False, **body: Any) -> Plan:
        """Of so many pictures, the first of which is 1 all over, the second 2, …; masked is the left half,
        unless a mask is given."""
        is_masked = mask is not False
        given = {"init_images": ["(a picture)"] * images} | ({"mask": "(a mask)"} if is_masked else {}) | body
        request = filling.filled(Img2ImgRequest.model_validate(given))
        pictures = tuple(np.full((64, 64, 3), number + 1, np.uint8) for number in range(images))
        half = np.repeat(np.array([[255, 0]], np.uint8), 32, axis=1).repeat(64, axis=0)
        sent = mask if isinstance(mask, np.ndarray) else half
        inputs = Inputs(images=pictures, mask=sent if is_masked else None, units=units_of(request))
        return planning.plan(request, inputs, self.surroundings)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    path = tmp_path / place.folder_of(ModelType.CHECKPOINT) / "shapes.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "styles.csv").write_text(STYLES)
    library = Library([tmp_path])
    return Desk(tmp_path, library, Checkpoint(path, "shapes.safetensors", SHA256))


@pytest.fixture
def picture() -> Callable[..., Picture]:
    """A finished picture at a place of the request."""

    def make(index: int, **made: Any) -> Picture:
        return Picture(index, Made(**({"pixels": np.zeros((8, 8, 3), np.uint8)} | made)))

    return make
