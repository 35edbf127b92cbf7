"""What one writes to make a plugin: a `Plugin` with its `Module`s. The rest (sockets, archives, limits,
deadlines, processes) is the server's and the supervisor's.

A package `sd_plugin.plugins.<package>` has a function `plugin() -> Plugin`, called once as the worker starts.
Heavy libraries are imported by the packages that need them, and by nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sd_plugin.contract import USUAL_LIMITS, VERSION, Kind, Limits, ModuleDescription, PluginDescription

#: A picture: uint8, (height, width, 3), RGB.
Pixels = npt.NDArray[np.uint8]
#: A mask: uint8, (height, width), of the picture's size; white is where it holds.
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Result:
    """A run's picture and what else it tells: `info` is JSON's (text, numbers, lists, objects), e.g.
    {"poses": [...]}; `seconds` is added to it."""

    image: Pixels
    info: Mapping[str, Any] = field(default_factory=dict)


class Module(Protocol):
    """One thing to do with a picture."""

    @property
    def description(self) -> ModuleDescription:
        """What it is; asked again for every answer, so `available` may change while the process lives."""

    def run(self, image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
        """Does it, in a thread; `Plugin.at_once` says how many at a time. The picture has been judged, and is
        the module's to change; `parameters` has every parameter of the description, within its bounds, an
        `int` where it is an integer. A mask is given only to those that take one.

        Raises `InvalidParameter` for what only a module can tell, and `ModuleUnavailable`.
        """


@dataclass(frozen=True, slots=True)
class FunctionModule:
    """A module that is a function of the picture and its parameters, and always available."""

    description: ModuleDescription
    call: Callable[[Pixels, Mapping[str, float]], Pixels]

    def run(self, image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
        """See `Module.run`."""
        return Result(self.call(image, parameters))


@dataclass(frozen=True, slots=True)
class Plugin:
    """A named set of modules of one kind; `at_once` is how many runs may compute at a time."""

    name: str
    version: str
    kind: Kind
    modules: Sequence[Module]
    limits: Limits = USUAL_LIMITS
    at_once: int = 1

    def describe(self) -> PluginDescription:
        """What the contract's `GET /v1/plugin` answers; pydantic's `ValidationError` where it breaks it."""
        return PluginDescription(
            contract=VERSION,
            name=self.name,
            version=self.version,
            kind=self.kind,
            limits=self.limits,
            modules=tuple(each.description for each in self.modules),
        )
