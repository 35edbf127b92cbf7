"""Every error the runtime raises on purpose.

Each has a `reason` (one CamelCase word for machines) and a message (one sentence for people). The doors
turn them into status codes and JSON; nothing here knows of HTTP. Foreign errors are translated where they
are caught, with `from`.
"""

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

#: Of a value that an error message repeats.
_LONGEST_VALUE = 100

# Cuts while it writes: neither a huge value nor a deeply nested one is ever written out as a whole.
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = _LONGEST_VALUE
_brief.fillvalue = "…"


def shown(value: object) -> str:
    """A value as an error message repeats it: at most 100 characters, with … for what was left out."""
    text = _brief.repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def shown_name(name: str) -> str:
    """A field's name, which may be a client's: as it is, or cut like a value."""
    return name if len(name) <= _LONGEST_VALUE else f"{name[: _LONGEST_VALUE - 1]}…"


def complaint(problem: Mapping[str, Any], *, whole: str = "body") -> str:
    """Field, value and what is allowed, of one complaint of pydantic; `whole` is what the fields are in."""
    if problem["type"] == "json_invalid":
        at = f" at character {problem['loc'][-1]}" if problem["loc"] else ""
        return f"{whole}: not JSON: {problem['ctx']['error']}{at}"
    place = shown_name(".".join(str(part) for part in problem["loc"] if part not in ("body", "query")))
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    if problem["type"] == "missing":
        return f"{place or whole}: {message}"
    return f"{place or whole}: {shown(problem['input'])} is not accepted: {message}"


class SdError(Exception):
    """Base of all errors raised on purpose; anything else that escapes is a defect."""

    reason = "Error"


class UnsupportedError(SdError):
    """A request asks for something that is not served: names the field, its value and what is allowed."""

    reason = "Unsupported"

    def __init__(self, field: str, value: object, allowed: str | Iterable[str]) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed if isinstance(allowed, str) else ", ".join(allowed)
        super().__init__(f"{shown_name(field)}: {shown(value)} is not supported; allowed: {self.allowed}")


class DeviceError(SdError):
    """The device asked for is not there, or cannot do what is needed."""

    reason = "DeviceUnavailable"


class CheckpointError(SdError):
    """A model file cannot be loaded: unreadable, of an unsupported family, or with wrong tensors."""

    reason = "CheckpointInvalid"


class CheckpointUnavailable(CheckpointError):
    """The wished bytes cannot be read from where they should be, now: missing, unreadable, or others. It may
    pass, as volumes recover and files are fetched again."""


class DeviceLost(SdError):
    """The device fails every call from now on; only a new process can use it again."""

    reason = "DeviceLost"


class NotLoaded(SdError):
    """A picture was asked for while no checkpoint is resident."""

    reason = "NotLoaded"


class QueueFull(SdError):
    """More work is waiting than the limit allows; try again later."""

    reason = "QueueFull"


class Cancelled(SdError):
    """The caller took the request back, or the engine is shutting down."""

    reason = "Cancelled"


class GenerationError(SdError):
    """A picture could not be computed, e.g. because the network returned values that are not numbers."""

    reason = "GenerationFailed"


class PluginError(SdError):
    """A plugin did not do what it was asked for: it failed, took too long, or broke its contract. The message
    names the plugin, the module and why."""

    reason = "PluginFailed"


class PluginUnavailable(PluginError):
    """A plugin, or a module of it, cannot be used now; it may pass."""

    reason = "PluginUnavailable"
