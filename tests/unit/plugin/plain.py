"""A plugin that behaves, with all that a description can have: a parameter of each type, a mask, a module
that is not available."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sd_plugin.contract import Limits, ModuleDescription, Parameter
from sd_plugin.module import Grey, Pixels, Plugin, Result
from sd_plugin.resolution import at_resolution, parameter

STRENGTH = Parameter(
    name="strength", label="Strength", type="number", default=1.0, minimum=0.0, maximum=2.0, step=0.1
)
DESCRIPTION = ModuleDescription(
    name="plain", label="Plain", aliases=("simple",), mask=True, parameters=(parameter(), STRENGTH)
)
MISSING = ModuleDescription(
    name="missing", label="Missing", available=False, reason="weights.pth is missing."
)

Call = Callable[[Pixels, Grey | None, Mapping[str, float]], Result]


def as_it_is(image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
    """The picture at its resolution; tells what it was given."""
    told = {"parameters": dict(parameters), "mask": None if mask is None else list(mask.shape)}
    return Result(at_resolution(image, parameters["resolution"]), told)


@dataclass
class Module:
    """One module that does what it is told to."""

    description: ModuleDescription = DESCRIPTION
    call: Call = field(default=as_it_is)

    def run(self, image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
        return self.call(image, mask, parameters)


def made(call: Call = as_it_is, *, at_once: int = 1, seconds: float = 20.0, pixels: int = 250_000) -> Plugin:
    """The plugin, its module doing this."""
    modules = [Module(call=call), Module(description=MISSING)]
    return Plugin("plain", "1.2.3", "Preprocessor", modules, Limits(pixels=pixels, seconds=seconds), at_once)


def plugin() -> Plugin:
    return made()
