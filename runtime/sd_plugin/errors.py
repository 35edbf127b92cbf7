"""Every error a plugin answers with on purpose. Each has a `reason`, the answer's CamelCase word, and its
message is the answer's sentence. The server turns them into statuses; nothing here knows of HTTP."""

import reprlib
from collections.abc import Iterable

#: Of a value that a sentence repeats.
_LONGEST_VALUE = 100

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = _LONGEST_VALUE
_brief.fillvalue = "…"


def shown(value: object) -> str:
    """A value as a sentence repeats it: at most 100 characters, with … for what was left out."""
    text = _brief.repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


class PluginError(Exception):
    """Base of all errors raised on purpose; anything else that escapes a module is a `ModuleFailed`."""

    reason = "Error"


class Invalid(PluginError):
    """The request is not what the contract or the module's description allows."""

    reason = "Invalid"


class InvalidParameter(Invalid):
    """A parameter, or an entry of the archive, that a module does not accept: names it, its value and what is
    allowed. Modules raise it for what the description alone cannot tell."""

    def __init__(self, name: str, value: object, allowed: str | Iterable[str]) -> None:
        self.name = name
        self.value = value
        self.allowed = allowed if isinstance(allowed, str) else ", ".join(allowed)
        super().__init__(f"{name}: {shown(value)} is not accepted; allowed: {self.allowed}")


class UnknownModule(PluginError):
    """The plugin has no module of this name; the sentence tells which there are."""

    reason = "UnknownModule"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"module: {shown(name)} is not known; allowed: {', '.join(known)}")


class TooLarge(PluginError):
    """The archive, an entry or a picture is larger than the plugin takes."""

    reason = "TooLarge"


class ModuleUnavailable(PluginError):
    """The module cannot run here as it is, e.g. for want of a weight file; the sentence tells why. A module
    may raise it in a run for what is found only then, such as a file with wrong tensors."""

    reason = "Unavailable"


class Busy(PluginError):
    """As many runs wait as may; try again shortly."""

    reason = "Busy"


class DeadlineExceeded(PluginError):
    """The run was not finished when its time was over."""

    reason = "DeadlineExceeded"


class ModuleFailed(PluginError):
    """The run ended in an error nobody foresaw, or for want of memory; the log has it."""

    reason = "ModuleFailed"
