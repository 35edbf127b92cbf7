"""A request to make pictures larger as work for the engine, and A1111's words for what was done. Pure but for
looking upscalers up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sd_runtime.a1111 import fields, infotext, upscalers
from sd_runtime.a1111.options import Values
from sd_runtime.a1111.parameters import VERSION
from sd_runtime.a1111.schemas.extras import ExtrasRequest
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import codec, resizing
from sd_runtime.images.resizing import Size
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins
from sd_runtime.settings import Settings
from sd_runtime.tasks.extras import Extras
from sd_runtime.tasks.recipe import Upscaler


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtrasPlan:
    """Everything decided about a request before it is accepted."""

    request: ExtrasRequest
    options: Values
    tasks: tuple[Extras, ...]
    #: What each picture's file said of its making.
    origins: tuple[str, ...]

    @property
    def iterations(self) -> tuple[tuple[Extras, ...], ...]:
        """One picture after the other: each may fill the device's memory."""
        return tuple((task,) for task in self.tasks)

    def infotext_of(self, index: int) -> str:
        """What the picture's own file said, and after it what was done here."""
        return _joined(self.origins[index], _done(self.tasks[index]))


def plan(
    request: ExtrasRequest,
    images: Sequence[tuple[Pixels, str]],
    *,
    library: Library,
    plugins: Plugins,
    options: Values,
    settings: Settings,
) -> ExtrasPlan:
    """Judges the request, and lays its pictures out; each comes with the infotext of its file. Raises
    `UnsupportedError` for what is not served, `PluginUnavailable` for a plugin's upscaler that is not there
    now."""
    fields.refuse_unserved(request)
    first = _upscaler(request, "upscaler_1", library, plugins, options)
    second = _upscaler(request, "upscaler_2", library, plugins, options)
    tasks = [_task(request, pixels, first, second) for pixels, _ in images]
    _demand_size(tasks, settings)
    for task in tasks:
        codec.judge_form(options.samples_format, _size_of(task))
    return ExtrasPlan(
        request=request,
        options=options,
        tasks=tuple(tasks),
        origins=tuple(origin for _, origin in images),
    )


def _upscaler(
    request: ExtrasRequest, field: str, library: Library, plugins: Plugins, options: Values
) -> Upscaler:
    return upscalers.find(
        library,
        plugins,
        field,
        getattr(request, field),
        tile=options.esrgan_tile,
        overlap=options.esrgan_tile_overlap,
    )


def _task(request: ExtrasRequest, image: Pixels, first: Upscaler, second: Upscaler) -> Extras:
    visible = second.name != upscalers.NONE and request.extras_upscaler_2_visibility > 0
    # Without an upscaler A1111 leaves the picture as it is, whatever the size that was asked for.
    if first.name == upscalers.NONE:
        return Extras(image=image, upscaler_1=first, scale=1.0)
    to_size = request.resize_mode == 1
    return Extras(
        image=image,
        upscaler_1=first,
        upscaler_2=second if visible else None,
        visibility_2=request.extras_upscaler_2_visibility if visible else 0.0,
        scale=None if to_size else request.upscaling_resize,
        size=(request.upscaling_resize_w, request.upscaling_resize_h) if to_size else None,
        crop=request.upscaling_crop,
    )


def _demand_size(tasks: Sequence[Extras], settings: Settings) -> None:
    """All pictures of a request are in memory at once until the answer is sent."""
    pixels = sum(width * height for width, height in (task.enlarged for task in tasks))
    most = settings.max_pixels_per_request
    if pixels > most:
        raise UnsupportedError("width x height of all results", pixels, f"{most} pixels in one request")


def _size_of(task: Extras) -> Size:
    """Width and height of the result."""
    if task.upscaler_1.name == upscalers.NONE:
        return resizing.size_of(task.image)
    return task.size if task.size is not None and task.crop else task.enlarged


def _done(task: Extras) -> dict[str, object]:
    """A1111's parameters of what was done; nothing where the picture stayed as it was."""
    if task.upscaler_1.name == upscalers.NONE:
        return {}
    done: dict[str, object] = {}
    if task.size is None:
        done["Postprocess upscale by"] = task.scale
    else:
        done["Postprocess upscale to"] = f"{task.size[0]}x{task.size[1]}"
        done["Postprocess crop to"] = "True" if task.crop else None
    done["Postprocess upscaler"] = task.upscaler_1.name
    if task.upscaler_2 is not None:
        done["Postprocess upscaler 2"] = task.upscaler_2.name
        done["Postprocess upscaler 2 visibility"] = task.visibility_2
    return done


def _joined(origin: str, done: dict[str, object]) -> str:
    pairs = ", ".join(f"{key}: {infotext.quote(value)}" for key, value in done.items() if value is not None)
    if not pairs:
        return origin
    # Parameters stand in the last line, if there are any; else these begin one.
    has_parameters = "Steps" in infotext.read(origin)
    version = "" if has_parameters else f", Version: {VERSION}"
    between = "" if not origin else ", " if has_parameters else "\n"
    return f"{origin}{between}{pairs}{version}"
