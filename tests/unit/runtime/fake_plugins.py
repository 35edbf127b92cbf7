"""Plugins that are written down here: what they offer, and what each module does to a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sd_runtime.errors import PluginError, PluginUnavailable, UnsupportedError
from sd_runtime.plugins import PREPROCESSOR, Module, ModuleState, Parameter, Plugins, RunResult

Pixels = npt.NDArray[np.uint8]

RESOLUTION = Parameter(
    name="resolution",
    label="Resolution",
    type="integer",
    default=512,
    minimum=64,
    maximum=2048,
    step=8,
    unit="px",
)
LOW = Parameter(
    name="low", label="Low threshold", type="integer", default=100, minimum=1, maximum=255, step=1
)
HIGH = Parameter(
    name="high", label="High threshold", type="integer", default=200, minimum=1, maximum=255, step=1
)
SIGMA = Parameter(
    name="sigma", label="Sigma", type="number", default=9.0, minimum=0.01, maximum=64.0, step=0.01
)


#: Of a picture that a module is given.
MOST_PIXELS = 2**20


def edges(image: Pixels) -> Pixels:
    """White where a pixel differs from the one before it in its row."""
    grey = image.astype(int).mean(axis=2)
    found = np.abs(np.diff(grey, axis=1, prepend=grey[:, :1])) > 32
    return np.where(found[..., None], 255, 0).repeat(3, axis=2).astype(np.uint8)


#: Each with what it makes of a picture.
MODULES: tuple[tuple[str, ModuleState, Callable[[Pixels], Pixels]], ...] = (
    (
        "basic",
        ModuleState(
            name="canny",
            label="Canny",
            aliases=("canny_edges",),
            control_types=("Canny",),
            matches=("canny",),
            parameters=(RESOLUTION, LOW, HIGH),
        ),
        edges,
    ),
    (
        "basic",
        ModuleState(
            name="invert", label="invert (from white bg & black line)", control_types=("Canny", "Lineart")
        ),
        lambda image: 255 - image,
    ),
    (
        "basic",
        ModuleState(
            name="blur_gaussian",
            label="blur_gaussian",
            control_types=("Tile",),
            matches=("tile", "blur"),
            mask=True,
            parameters=(SIGMA, RESOLUTION),
        ),
        lambda image: image // 2,
    ),
    (
        "poses",
        ModuleState(
            name="openpose_full",
            label="openpose_full",
            control_types=("OpenPose",),
            matches=("openpose",),
            available=False,
            reason="nobody listens at its socket",
            parameters=(RESOLUTION,),
        ),
        lambda image: image,
    ),
    (
        "poses",
        ModuleState(name="openpose", label="openpose", control_types=("OpenPose",), parameters=(RESOLUTION,)),
        lambda image: image,
    ),
    (
        "basic",
        ModuleState(name="recolor_luminance", label="recolor_luminance", control_types=("Recolor",)),
        lambda image: image,
    ),
    ("broken", ModuleState(name="mlsd", label="M-LSD", control_types=("MLSD",)), lambda image: image),
)


class FakePlugins(Plugins):
    """Runs in this process; `runs` keeps what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[str, Pixels, Pixels | None, Mapping[str, float]]] = []
        self.info: dict[str, Any] = {}
        #: Names of modules that cannot be used, besides those above.
        self.down: set[str] = set()
        #: Names of modules that refuse whatever picture they are given.
        self.refused: set[str] = set()

    def modules(self, kind: str) -> Mapping[str, Module]:
        return {
            state.name: Module(plugin, self._now(state))
            for plugin, state, _ in MODULES
            if kind == PREPROCESSOR
        }

    def _now(self, state: ModuleState) -> ModuleState:
        if state.name not in self.down:
            return state
        return replace(state, available=False, reason="its worker ends again and again")

    def find(self, kind: str, name: str) -> Module | None:
        for module in self.modules(kind).values():
            names = (module.state.name, module.state.label, *module.state.aliases)
            if name.lower() in (each.lower() for each in names):
                return module
        return None

    def judge_size(
        self, module: Module, size: tuple[int, int], parameters: Mapping[str, float], *, field: str
    ) -> None:
        width, height = size
        if height * width > MOST_PIXELS:
            raise UnsupportedError(field, f"{width}x{height}", f"pictures of at most {MOST_PIXELS} pixels")

    def run(
        self,
        module: Module,
        image: Pixels,
        mask: Pixels | None = None,
        parameters: Mapping[str, float] | None = None,
        *,
        field: str = "image",
    ) -> RunResult:
        name = module.state.name
        self.runs.append((name, image, mask, dict(parameters or {})))
        if not module.state.available:
            raise PluginUnavailable(f"plugin {module.plugin}: module {name}: {module.state.reason}")
        self.judge_size(module, (image.shape[1], image.shape[0]), parameters or {}, field=field)
        if name in self.refused:
            raise UnsupportedError(field, f"{image.shape[1]}x{image.shape[0]}", "other proportions")
        if name == "mlsd":
            raise PluginError(f"plugin {module.plugin}: module {name} failed: its worker ended")
        if (parameters or {}).get("low", 0) > (parameters or {}).get("high", 255):
            raise UnsupportedError("low", (parameters or {})["low"], "at most high")
        (make,) = (make for plugin, state, make in MODULES if state.name == name)
        return RunResult(make(image), self.info)

    async def ask(
        self,
        module: Module,
        image: Pixels,
        mask: Pixels | None = None,
        parameters: Mapping[str, float] | None = None,
        *,
        field: str = "image",
    ) -> RunResult:
        return self.run(module, image, mask, parameters, field=field)
