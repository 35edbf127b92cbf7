"""How the map of one picture is made: the part that is drawn is cut out, and the unit's module is run on
it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sd_runtime.a1111.controlnet import preprocessors
from sd_runtime.a1111.controlnet.preprocessors import RESOLUTION, THRESHOLDS, Preprocessor
from sd_runtime.a1111.controlnet.reading import Shown, place
from sd_runtime.a1111.controlnet.scene import Scene
from sd_runtime.a1111.schemas.unit import Unit
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import resizing
from sd_runtime.images.resizing import Size
from sd_runtime.tasks import inpainting
from sd_runtime.tasks.recipe import Grey, ResizeMode

#: What is lighter is masked.
_MASKED = 127


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Maker:
    """How the map of one picture is made; any thread."""

    index: int
    unit: Unit
    module: Preprocessor
    numbers: Mapping[str, float]
    shown: Shown
    scene: Scene
    original: Size | None
    mode: ResizeMode

    def make(self) -> Pixels:
        """The map, which is the picture itself where no module is to change it."""
        image = self._cut(self.shown.image)
        if self.module.plugin is None:
            return image
        mask = None if self.shown.mask is None else self._cut(self.shown.mask)
        try:
            return self.scene.plugins.run(
                self.module.plugin,
                image,
                mask,
                self._numbers(resizing.size_of(image)),
                field=self._field,
            ).image
        except UnsupportedError as error:
            if (told := self._in_clients_words(error)) is error:
                raise
            raise told from error

    def judge_size(self) -> None:
        """Raises `UnsupportedError` where the picture is more than the module takes."""
        parameters = self._numbers(self._size)
        preprocessors.judge_size(self.scene.plugins, self.module, parameters, self._size, self._field)

    @property
    def pixels(self) -> int:
        """How many the map will have at most."""
        return preprocessors.pixels_of(self.module, self._numbers(self._size), self._size)

    def blank(self) -> Grey | None:
        """What an inpainting ControlNet is not shown."""
        if not self.module.is_inpainting or self.shown.mask is None:
            return None
        return np.where(self._cut(self.shown.mask) > _MASKED, 255, 0).astype(np.uint8)

    @property
    def _field(self) -> str:
        return place(self.index, "image")

    @property
    def _is_cut(self) -> bool:
        mask = self.scene.mask
        only_masked = mask is not None and mask.only_masked and self.original is not None
        return only_masked and self.unit.inpaint_crop_input_image

    @property
    def _size(self) -> Size:
        """Of what the module sees."""
        return self.scene.first.size if self._is_cut else resizing.size_of(self.shown.image)

    def _cut(self, pixels: Pixels) -> Pixels:
        """The part that is drawn, of a picture or mask; the whole where all of it is. Before a module sees
        it, so that the map is as fine as what is drawn."""
        mask, size = self.scene.mask, self.scene.first.size
        if not self._is_cut:
            return pixels
        assert mask is not None and self.original is not None
        region = inpainting.prepare(mask, self.original, size, self.mode).region
        assert region is not None
        return resizing.fill(region.cut(_resized(pixels, self.original, self.mode)), size)

    def _numbers(self, shown: Size) -> Mapping[str, float]:
        parameter = self.module.resolution
        if parameter is None or not self.unit.pixel_perfect:
            return self.numbers
        wanted = pixel_perfect(shown, self.scene.first.size, self.mode)
        return {**self.numbers, RESOLUTION: preprocessors.within(parameter, wanted)}

    def _in_clients_words(self, error: UnsupportedError) -> UnsupportedError:
        """A module's parameter by the name that requests set it by."""
        own = {each.name: name for each, name in zip(self.module.thresholds, THRESHOLDS, strict=False)}
        own[RESOLUTION] = "processor_res"
        if error.field not in own:
            return error
        return UnsupportedError(place(self.index, own[error.field]), error.value, error.allowed)


def pixel_perfect(shown: Size, drawn: Size, mode: ResizeMode) -> int:
    """The resolution (of the shorter side, in pixels) at which a map has a pixel for each of what is drawn
    (sd-webui-controlnet's)."""
    scales = drawn[0] / shown[0], drawn[1] / shown[1]
    scale = min(scales) if mode is ResizeMode.FILL else max(scales)
    return round(scale * min(shown))


def _resized(pixels: Pixels, size: Size, mode: ResizeMode) -> Pixels:
    if mode is ResizeMode.CROP:
        return resizing.crop(pixels, size)
    return resizing.fill(pixels, size) if mode is ResizeMode.FILL else resizing.lanczos(pixels, size)
