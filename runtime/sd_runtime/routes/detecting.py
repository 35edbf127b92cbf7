"""POST /controlnet/detect: a module run on pictures by itself, one after the other. No job of the queue: the
device has nothing to do with it, and plugins bound what waits for them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sd_runtime.a1111.controlnet import preprocessors
from sd_runtime.a1111.controlnet.preprocessors import RESOLUTION, THRESHOLDS, Preprocessor
from sd_runtime.a1111.controlnet.reading import Sent, Shown
from sd_runtime.a1111.schemas.controlnet import DetectRequest
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import PluginError, UnsupportedError
from sd_runtime.images import codec, resizing
from sd_runtime.images.resizing import Size
from sd_runtime.routes import control_pictures, inputs
from sd_runtime.routes.intake import Held
from sd_runtime.routes.services import Services

_MODULE, _IMAGES, _MASKS = "controlnet_module", "controlnet_input_images", "controlnet_masks"


async def detect(services: Services, body: DetectRequest) -> Response:
    """The answer, in the shape of `DetectResponse`. Raises `UnsupportedError` under the field's name,
    `PluginError`, and `Full` where others hold too many pixels."""
    module = await asyncio.to_thread(preprocessors.find, services.plugins, _MODULE, body.controlnet_module)
    _judge(module, body)
    preprocessors.demand_available(module)
    thresholds = body.controlnet_threshold_a, body.controlnet_threshold_b
    numbers = preprocessors.numbers(module, resolution=body.controlnet_processor_res, thresholds=thresholds)
    count = _Count(services.settings.max_pixels_per_request, module, numbers)
    sizes = [
        await inputs.size(services, f"{_IMAGES}.{number}", image)
        for number, image in enumerate(body.controlnet_input_images)
    ]
    for number, size in enumerate(sizes):
        if size is not None:
            preprocessors.judge_size(services.plugins, module, numbers, size, f"{_IMAGES}.{number}")
            count.add(number, size)
    with ExitStack() as stack:
        answer = stack.enter_context(services.intake.holding())
        images: list[str] = []
        poses: list[str] = []
        for number, image in enumerate(body.controlnet_input_images):
            mask = body.controlnet_masks[number] if number < len(body.controlnet_masks) else None
            # One by one: neither pictures nor maps are in memory all at once.
            with services.intake.holding() as held:
                shown = await _shown(services, number, image, mask, held)
                size = resizing.size_of(shown.image)
                if sizes[number] is None:
                    count.add(number, size)
                await held.take(preprocessors.pixels_of(module, numbers, size))
                pixels, told = await _run(services, module, shown, numbers, f"{_IMAGES}.{number}")
                images.append(await asyncio.to_thread(_as_png, pixels))
                poses += told
                for text in (images[-1], *told):
                    await answer.take_text(text)
        return _Answer(images, poses, held=stack.pop_all())


class _Count:
    """The pixels of a request's maps, which are bounded as those of all its pictures are."""

    def __init__(self, most: int, module: Preprocessor, numbers: Mapping[str, float]) -> None:
        self._most = most
        self._module = module
        self._numbers = numbers
        self._together = 0

    def add(self, number: int, size: Size) -> None:
        """The map of the picture with this number and size; raises `UnsupportedError` for one too many."""
        self._together += preprocessors.pixels_of(self._module, self._numbers, size)
        if self._together > self._most:
            told = f"{size[0]}x{size[1]} pixels, with which maps have {self._together} together"
            allowed = f"pictures whose maps have at most {self._most} in one request"
            raise UnsupportedError(f"{_IMAGES}.{number}", told, allowed)


class _Answer(StreamingResponse):
    """JSON that is put together while it is sent, so that the maps are in memory once; what they hold is
    given back when it has been."""

    def __init__(self, images: Sequence[str], poses: Sequence[str], *, held: ExitStack) -> None:
        self._held = held
        super().__init__(_pieces(images, poses), media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def _pieces(images: Sequence[str], poses: Sequence[str]) -> AsyncIterator[str]:
    """`DetectResponse` as JSON; poses are JSON already, and base64 has nothing that JSON would escape."""
    yield '{"info":"Success","images":['
    for number, image in enumerate(images):
        yield ',"' if number else '"'
        yield image
        yield '"'
    yield "]"
    if poses:
        yield f',"poses":[{",".join(poses)}]'
    yield "}"


def _judge(module: Preprocessor, body: DetectRequest) -> None:
    pictures = len(body.controlnet_input_images)
    # An empty text is no mask, as in a unit.
    masks = sum(map(bool, body.controlnet_masks))
    if not pictures:
        raise UnsupportedError(_IMAGES, [], "one picture or more")
    if masks and not module.takes_mask:
        raise UnsupportedError(_MASKS, f"{masks} masks", f"none, as module {module.name} takes no mask")
    if any(body.controlnet_masks[pictures:]) or (module.is_inpainting and masks < pictures):
        raise UnsupportedError(_MASKS, f"{masks} masks", f"one for each of the {pictures} pictures")


async def _shown(services: Services, number: int, image: str, mask: str | None, held: Held) -> Shown:
    return await control_pictures.shown(
        services,
        Sent(f"{_IMAGES}.{number}", image, f"{_MASKS}.{number}", mask or None),
        held,
    )


async def _run(
    services: Services, module: Preprocessor, shown: Shown, numbers: Mapping[str, float], field: str
) -> tuple[Pixels, Sequence[str]]:
    """The map, and the poses that the module found, as JSON."""
    if module.plugin is None:
        return shown.image, ()
    try:
        result = await services.plugins.ask(module.plugin, shown.image, shown.mask, numbers, field=field)
    except UnsupportedError as error:
        own = {each.name: name for each, name in zip(module.thresholds, THRESHOLDS, strict=False)}
        name = {**own, RESOLUTION: "processor_res"}.get(error.field)
        if name is None:
            raise
        raise UnsupportedError(f"controlnet_{name}", error.value, error.allowed) from error
    return result.image, _poses(module, result.info)


def _poses(module: Preprocessor, info: Mapping[str, Any]) -> Sequence[str]:
    """What is handed on to clients as it is must be JSON."""
    assert module.plugin is not None
    poses = info.get("poses") or ()
    try:
        if not isinstance(poses, list | tuple):
            raise ValueError("it is no list")
        texts = [json.dumps(each, allow_nan=False, ensure_ascii=False) for each in poses]
        "".join(texts).encode()
    except (TypeError, ValueError, RecursionError) as error:
        of = f"plugin {module.plugin.plugin}: module {module.plugin.state.name}"
        raise PluginError(f"{of}: what it tells of poses cannot be handed on: {error}") from error
    return texts


def _as_png(pixels: Pixels) -> str:
    return base64.b64encode(codec.encode(pixels, "png", None)).decode("ascii")
