"""The plugin `controlnet-basic`: preprocessors without weights, by OpenCV alone. Names, labels, parameters
and defaults are sd-webui-controlnet's; where several go with a control type, its default comes first."""

from collections.abc import Callable, Mapping

import cv2

from sd_plugin import __version__, processors
from sd_plugin.contract import ModuleDescription, Parameter
from sd_plugin.module import FunctionModule, Pixels, Plugin
from sd_plugin.plugins.basic import maps
from sd_plugin.resolution import parameter as resolution

#: Of modules that expect a drawing.
_DRAWN = "(from white bg & black line)"

_Call = Callable[[Pixels, Mapping[str, float]], Pixels]


def plugin() -> Plugin:
    """See `sd_plugin.module`."""
    cv2.setNumThreads(processors.threads())
    return Plugin("controlnet-basic", __version__, "Preprocessor", _modules())


def _modules() -> list[FunctionModule]:
    return [*_outlines(), *_tiles(), *_colours()]


def _outlines() -> list[FunctionModule]:
    return [
        _module(
            "canny",
            maps.canny,
            types=("Canny",),
            matches=("canny",),
            parameters=(
                resolution(),
                _whole("low_threshold", "Low Threshold", 100, 1, 255),
                _whole("high_threshold", "High Threshold", 200, 1, 255),
            ),
        ),
        _module(
            "scribble_xdog",
            maps.scribble_xdog,
            types=("Scribble", "SparseCtrl"),
            matches=("scribble", "sketch"),
            parameters=(resolution(), _whole("threshold", "XDoG Threshold", 32, 1, 64)),
        ),
        _module(
            "lineart_standard",
            maps.lineart_standard,
            label=f"lineart_standard {_DRAWN}",
            aliases=("standard_lineart",),
            types=("Lineart",),
            matches=("lineart",),
            parameters=(resolution(),),
        ),
    ]


def _tiles() -> list[FunctionModule]:
    return [
        _module(
            "tile_resample",
            maps.tile_resample,
            types=("Tile",),
            matches=("tile",),
            parameters=(_number("down_sampling_rate", "Down Sampling Rate", 1.0, 1.0, 8.0, 0.01),),
        ),
        _module(
            "tile_colorfix",
            maps.tile_as_it_is,
            types=("Tile",),
            matches=("tile",),
            parameters=(_variation(),),
        ),
        _module(
            "tile_colorfix+sharp",
            maps.tile_as_it_is,
            types=("Tile",),
            matches=("tile",),
            parameters=(_variation(), _number("sharpness", "Sharpness", 1.0, 0.0, 2.0, 0.01)),
        ),
        _module(
            "blur_gaussian",
            maps.blur_gaussian,
            types=("Tile",),
            matches=("tile", "blur"),
            parameters=(resolution(), _number("sigma", "Sigma", 9.0, 0.01, 64.0, 0.01)),
        ),
    ]


def _colours() -> list[FunctionModule]:
    return [
        _module(
            "shuffle", maps.shuffle, types=("Shuffle",), matches=("shuffle",), parameters=(resolution(),)
        ),
        _module(
            "recolor_luminance",
            maps.recolor_luminance,
            types=("Recolor",),
            matches=("recolor",),
            parameters=(_gamma(),),
        ),
        _module(
            "recolor_intensity",
            maps.recolor_intensity,
            types=("Recolor",),
            matches=("recolor",),
            parameters=(_gamma(),),
        ),
        _module(
            "threshold",
            maps.threshold,
            parameters=(resolution(), _whole("threshold", "Binarization Threshold", 127, 0, 255)),
        ),
        _module(
            "invert",
            maps.invert,
            label=f"invert {_DRAWN}",
            types=("Canny", "Lineart", "Scribble", "MLSD"),
            matches=("canny", "lineart", "scribble", "mlsd"),
        ),
    ]


def _module(
    name: str,
    call: _Call,
    *,
    label: str = "",
    aliases: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
    matches: tuple[str, ...] = (),
    parameters: tuple[Parameter, ...] = (),
) -> FunctionModule:
    description = ModuleDescription(
        name=name,
        label=label or name,
        aliases=aliases,
        control_types=types,
        matches=matches,
        parameters=parameters,
    )
    return FunctionModule(description, call)


def _whole(name: str, label: str, default: int, minimum: int, maximum: int) -> Parameter:
    return Parameter(
        name=name, label=label, type="integer", default=default, minimum=minimum, maximum=maximum, step=1
    )


def _number(name: str, label: str, default: float, minimum: float, maximum: float, step: float) -> Parameter:
    return Parameter(
        name=name, label=label, type="number", default=default, minimum=minimum, maximum=maximum, step=step
    )


def _variation() -> Parameter:
    return _number("variation", "Variation", 8.0, 3.0, 32.0, 1.0)


def _gamma() -> Parameter:
    return _number("gamma", "Gamma Correction", 1.0, 0.1, 2.0, 0.001)
