"""What is known of plugins and their modules: plain data."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

Kind = Literal["Preprocessor", "Upscaler"]
PREPROCESSOR: Final = "Preprocessor"
UPSCALER: Final = "Upscaler"


class Reason(StrEnum):
    """Why a plugin is not ready."""

    #: It is.
    NONE = ""
    #: It has not answered yet since this process began, and there was little time for it.
    STARTING = "Starting"
    #: Its socket is not there, nobody listens, no answer comes in time, or it says that it cannot serve.
    NOT_ANSWERING = "NotAnswering"
    #: What it says of itself is not what the contract demands.
    CONTRACT_BROKEN = "ContractBroken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A number that a module takes; `minimum` to `maximum`, both included."""

    name: str
    label: str
    type: Literal["integer", "number"]
    default: float
    minimum: float
    maximum: float
    step: float
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleState:
    """A module as its plugin describes it, and whether it can be used now."""

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    #: The control types of A1111's ControlNet that it is listed under.
    control_types: tuple[str, ...] = ()
    #: Parts of the names of ControlNet files that it goes with.
    matches: tuple[str, ...] = ()
    available: bool = True
    #: One sentence, where it is not available.
    reason: str = ""
    #: Whether it takes a mask.
    mask: bool = False
    #: By how much an upscaler's picture grows, on each side; None of preprocessors.
    factor: int | None = None
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plugin says it does at most: pixels of a picture that it is given, seconds of a run."""

    pixels: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginState:
    """A plugin as it answered last; its modules stay known while it does not answer."""

    name: str
    #: None: neither the settings nor the plugin have said it yet.
    kind: Kind | None = None
    version: str = ""
    ready: bool = False
    reason: Reason = Reason.STARTING
    #: One sentence for people; also of a ready plugin, where something is worth telling.
    message: str = ""
    limits: Limits | None = None
    modules: tuple[ModuleState, ...] = ()
