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
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import filling, planning
from sd_runtime.a1111.checkpoints import Checkpoint, Shelf
from sd_runtime.a1111.limits import Limits
from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.plan import Inputs, Plan
from sd_runtime.a1111.planning import Surroundings
from sd_runtime.a1111.schemas import Img2ImgRequest, Txt2ImgRequest
from sd_runtime.a1111.stock import Stock
from sd_runtime.engine.work import Made
from sd_runtime.jobs.job import Picture
from sd_runtime.models.library import Library
from sd_runtime.prompt.styles import Styles

SHA256 = "ab12" * 16
STYLES = """name,prompt,negative_prompt
Ink,"ink drawing of {prompt}, monochrome",colour
Crisp,sharp,blurry
"""


@dataclass
class Desk:
    """One server's files; `served` is its checkpoint."""

    root: Path
    library: Library
    served: Checkpoint
    options: Values = field(default_factory=Values)
    limits: Limits = field(default_factory=Limits)

    def put(self, model_type: ModelType, name: str) -> Path:
        """A small file in the folder of its type; empty where none shows the type."""
        path = self.root / place.folder_of(model_type) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_files.of(model_type) if model_type in small_files.SHAPES else b"")
        return path

    @property
    def stock(self) -> Stock:
        return Stock(self.library, Shelf(self.library), self.served)

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

    def txt2img(self, first_pass: Any = None, **body: Any) -> Plan:
        request = filling.filled(Txt2ImgRequest.model_validate(body))
        return planning.plan(request, Inputs(first_pass=first_pass), self.surroundings)

    def img2img(self, images: int = 1, mask: bool = False, **body: Any) -> Plan:
        """Of so many pictures, the first of which is 1 all over, the second 2, …; masked is the left half."""
        given = {"init_images": ["(a picture)"] * images} | ({"mask": "(a mask)"} if mask else {}) | body
        request = filling.filled(Img2ImgRequest.model_validate(given))
        pictures = tuple(np.full((64, 64, 3), number + 1, np.uint8) for number in range(images))
        half = np.repeat(np.array([[255, 0]], np.uint8), 32, axis=1).repeat(64, axis=0)
        inputs = Inputs(images=pictures, mask=half if mask else None)
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
