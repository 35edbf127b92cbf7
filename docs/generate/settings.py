"""docs/settings.md: the operator's settings, and the chart's value that sets each."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from sd_operator.gpu_profiles import TABLE, Dra
from sd_operator.settings import Settings

_HELPERS: Final = (
    Path(__file__).resolve().parents[2] / "charts" / "sd-operator" / "templates" / "_helpers.tpl"
)
#: For running outside of a cluster; the chart refuses it.
_OUTSIDE: Final = frozenset({"SDO_KEY_FILE"})
_HEADER: Final = """\
# Settings of the operator

Generated from `operator/sd_operator/settings.py` (`make docs`). The operator reads its environment once,
when it starts; a value that is wrong ends it with a sentence that names the variable. [The
chart](../charts/sd-operator/README.md) sets them; the third column says from which of its values. Settings
of the runtime are in [runtime.md](runtime.md#settings).

| variable | default | from the chart's | meaning |
| --- | --- | --- | --- |
"""


def document() -> str:
    """The page."""
    template = _HELPERS.read_text()
    rows = [
        f"| `{variable(name)}` | {_default(field)} | {_value(template, variable(name))} | {_cell(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return _HEADER + "\n".join([*rows, *_gpus()]) + "\n"


def _gpus() -> Iterator[str]:
    yield from ("", "## The built-in table of GPUs", "")
    yield "NVIDIA's, under the names of its own device plugin and DRA driver. `memory` is that of the largest"
    yield "device of the kind; of a MIG slice it is what the slice has, which is less than its name says."
    yield from ("", "| profile | backend | asked for as | memory |", "| --- | --- | --- | --- |")
    for each in TABLE:
        asked = f"device class `{each.device_class}`" if isinstance(each, Dra) else f"`{each.resource}`"
        yield f"| `{each.name}` | {each.backend} | {asked} | {each.memory} |"


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"SDO_{name.upper()}"


def _value(template: str, name: str) -> str:
    """Which values stand in what the chart gives a variable; extraEnv is for those that it does not set."""
    found = re.search(rf"name: {name}\b(.*)", template)
    if found is None:
        return "nothing: for outside of a cluster" if name in _OUTSIDE else "`extraEnv`"
    told = found[1]
    for included in re.findall(r'include "([\w.-]+)"', told):
        body = re.search(rf'define "{re.escape(included)}" -?}}}}(.*?)\n{{{{-? ?end', template, re.DOTALL)
        told += body[1] if body else ""
    for variable in re.findall(r"\$\w+", told):
        told += "".join(re.findall(rf"^.*{re.escape(variable)} :?= .*$", template, re.MULTILINE))
    values = dict.fromkeys(re.findall(r"\.Values\.([\w.]+)", told))
    return ", ".join(f"`{value}`" for value in values) or "nothing: the chart knows it"


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if field.is_required():
        return "none: it is needed"
    if value in ("", (), {}, None):
        return "empty"
    if isinstance(value, tuple):
        return "the [built-in table](#the-built-in-table-of-gpus)"
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return f"`{value}`"


def _cell(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")
