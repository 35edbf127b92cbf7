"""Demands on runs that a plugin must serve: each available module, all shapes, every parameter."""

import io
import json
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.lib import format as npy_format

from sd_plugin import archive
from sd_plugin.conformance.demand import Broken, Demand, NotTried, must
from sd_plugin.conformance.probe import Answer, Made, Probe, picture, read
from sd_plugin.conformance.refusing import judge_refusal, request
from sd_plugin.contract import (
    MOST_PIXELS,
    RESOLUTION,
    ModuleDescription,
    Parameter,
    PluginDescription,
)
from sd_plugin.module import Pixels

#: (height, width)
_USUAL = (96, 64)
_SHAPES = ((64, 64), (67, 131), (24, 200), (200, 24))
_SMALLEST = ((1, 1), (1, 7), (9, 1))
_MOST_BYTES = 1 << 26
_CHUNK = 4096
#: A resolution between two whole numbers may be rounded either way.
_ROUNDED = 0.5


def demands(description: PluginDescription) -> Iterator[Demand]:
    """Those of each module."""
    for module in description.modules:
        for sentence, applies, check in _CHECKS:
            if applies(module):
                yield Demand(f"{module.name}: {sentence}", partial(check, module))


def _available(module: ModuleDescription) -> None:
    if not module.available:
        raise NotTried(f"the module is unavailable: {module.reason}")


def _smallest(module: ModuleDescription) -> dict[str, float]:
    """The parameters with which a run costs the least."""
    parameter = module.parameter(RESOLUTION)
    return {RESOLUTION: parameter.minimum} if parameter else {}


def _answers(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    image = picture(*_USUAL)
    judge_size(module, image.shape, probe.run(module, image), {})


def _answers_png(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    image, parameters = picture(*_USUAL), _smallest(module)
    made = probe.run(module, image, parameters=parameters, as_png=True)
    judge_size(module, image.shape, made, parameters)


def _answers_newer_npy(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    image, parameters = picture(*_USUAL), _smallest(module)
    out = io.BytesIO()
    npy_format.write_array(out, image, version=(2, 0))
    entries = {"image.npy": out.getvalue(), archive.PARAMETERS: json.dumps(parameters).encode()}
    _judge_answer(module, image, probe.post(module.name, archive.pack(entries), most=_MOST_BYTES), parameters)


def _answers_chunks(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    image, parameters = picture(*_USUAL), _smallest(module)
    body = request(image, parameters)
    chunks = (body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK))
    _judge_answer(module, image, probe.post(module.name, chunks, most=_MOST_BYTES), parameters)


def _answers_the_patient(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    image, parameters = picture(*_USUAL), _smallest(module)
    answer = probe.post(module.name, request(image, parameters), told=False, most=_MOST_BYTES)
    _judge_answer(module, image, answer, parameters)


def _judge_answer(
    module: ModuleDescription, image: Pixels, answer: Answer, parameters: dict[str, float]
) -> None:
    if answer.status != 200:
        error = answer.error()
        raise Broken(f"{answer.status} {error.error}: {error.detail}")
    judge_size(module, image.shape, read(module, image, answer), parameters)


def _bears_its_highest_resolution(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    parameter = module.parameter(RESOLUTION)
    assert parameter is not None
    image, parameters = picture(64, 64), {RESOLUTION: parameter.maximum}
    if parameter.maximum**2 > MOST_PIXELS:
        raise NotTried(f"a map of {parameter.maximum} by {parameter.maximum} is more than is asked for here")
    most = 3 * int(parameter.maximum) ** 2 + archive.MOST_JSON_BYTES + archive.MOST_FRAME_BYTES
    answer = probe.post(module.name, request(image, parameters), most=most)
    if answer.status == 504:
        raise NotTried(f"it takes more than {probe.limits_seconds:g} s here")
    _judge_answer(module, image, answer, parameters)


def _answers_shapes(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    parameters = _smallest(module)
    for shape in _SHAPES:
        image = picture(*shape)
        try:
            judge_size(module, image.shape, probe.run(module, image, parameters=parameters), parameters)
        except Broken as why:
            raise type(why)(f"{shape[1]}x{shape[0]}: {why}") from None


def _bears_the_smallest(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    parameters = _smallest(module)
    for shape in _SMALLEST:
        image = picture(*shape)
        answer = probe.post(module.name, request(image, parameters), most=1 << 26)
        if answer.status == 200:
            judge_size(module, image.shape, read(module, image, answer), parameters)
        else:
            judge_refusal(answer, {422: "Invalid", 413: "TooLarge"})


def _others(module: ModuleDescription) -> list[Parameter]:
    """The parameters besides the resolution, whose largest value would cost the most of all."""
    return [each for each in module.parameters if each.name != RESOLUTION]


def _takes_its_parameters(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    image = picture(*_USUAL)
    for each in _others(module):
        for value in (each.minimum, each.maximum):
            parameters = _smallest(module) | {each.name: value}
            try:
                judge_size(module, image.shape, probe.run(module, image, parameters=parameters), parameters)
            except Broken as why:
                raise type(why)(f"{each.name} {value}: {why}") from None


def _takes_a_mask(module: ModuleDescription, probe: Probe) -> None:
    _available(module)
    image, parameters = picture(*_USUAL), _smallest(module)
    mask = np.zeros(_USUAL, np.uint8)
    mask[16:48, 16:48] = 255
    made = probe.run(module, image, mask=mask, parameters=parameters)
    judge_size(module, image.shape, made, parameters)


def judge_size(
    module: ModuleDescription, shape: tuple[int, ...], made: Made, parameters: dict[str, float]
) -> None:
    """Raises `Broken` unless what was made of a picture of this shape has the size that the contract says."""
    given, size = (shape[0], shape[1]), (made.image.shape[0], made.image.shape[1])
    told = f"a picture of {given[1]}x{given[0]} gives one of {size[1]}x{size[0]}"
    if module.factor is not None:
        wanted = (given[0] * module.factor, given[1] * module.factor)
        must(size == wanted, f"{told}, not {module.factor} times as large")
        return
    shorter, longer = min(given), max(given)
    across = size if given[0] <= given[1] else size[::-1]
    parameter, spare = module.parameter(RESOLUTION), 1.0
    if parameter is not None:
        resolution = parameters.get(RESOLUTION, parameter.default)
        is_long = abs(min(size) - resolution) <= _ROUNDED
        must(is_long, f"{told}, whose shorter side is not {RESOLUTION} ({resolution})")
    else:
        is_within = size[0] <= given[0] and size[1] <= given[1]
        must(is_within, f"{told}, which without a parameter {RESOLUTION} must not be larger")
        # The shorter side is rounded, too, and the longer follows it.
        spare += longer / shorter
    must(abs(across[1] - across[0] * longer / shorter) <= spare, f"{told}, of other proportions")


def _always(_module: ModuleDescription) -> bool:
    return True


def _has_others(module: ModuleDescription) -> bool:
    return bool(_others(module))


def _has_resolution(module: ModuleDescription) -> bool:
    return module.parameter(RESOLUTION) is not None


def _has_mask(module: ModuleDescription) -> bool:
    return module.mask


_CHECKS = (
    ("answers a picture as NPY, with every parameter as it is by default", _always, _answers),
    ("answers a picture as PNG", _always, _answers_png),
    ("answers a picture as NPY 2.0", _always, _answers_newer_npy),
    ("answers a request in chunks, without its length", _always, _answers_chunks),
    ("answers a request without an Sd-Deadline", _always, _answers_the_patient),
    ("answers square, odd, wide and tall pictures in the right size", _always, _answers_shapes),
    ("answers or refuses pictures of one pixel and of one row or column", _always, _bears_the_smallest),
    ("takes each parameter at its minimum and maximum", _has_others, _takes_its_parameters),
    ("answers a square picture at its highest resolution", _has_resolution, _bears_its_highest_resolution),
    ("takes a mask", _has_mask, _takes_a_mask),
)
