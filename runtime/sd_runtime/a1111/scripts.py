"""Which of A1111's scripts are served: ControlNet, which is an extension's, and no other. A client that names
another must hear of it (A1111's words), because its picture would be another one without it."""

from collections.abc import Mapping
from typing import Any

from sd_runtime.a1111.controlnet import reading
from sd_runtime.errors import SdError, UnsupportedError, shown

#: Scripts that a request may choose one of, and those that take part in every picture, by A1111's titles.
SELECTABLE: tuple[str, ...] = ()
ALWAYS_ON: tuple[str, ...] = (reading.TITLE,)


class ScriptNotFound(UnsupportedError):
    """A script is named that is not served."""

    def __init__(self, field: str, name: str, served: tuple[str, ...]) -> None:
        super().__init__(field, name, served or "none, as no script is served")
        SdError.__init__(self, f"Script {shown(name)} not found ({field}; allowed: {self.allowed})")


def refuse_unserved(script_name: str | None, alwayson_scripts: Mapping[str, Any]) -> None:
    """Raises `ScriptNotFound` for the first script that is not served; case does not count."""
    if script_name and script_name.lower() not in ("none", *(title.lower() for title in SELECTABLE)):
        raise ScriptNotFound("script_name", script_name, SELECTABLE)
    for name in alwayson_scripts:
        if name.lower() not in (title.lower() for title in ALWAYS_ON):
            raise ScriptNotFound("alwayson_scripts", name, ALWAYS_ON)
