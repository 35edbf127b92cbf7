"""Units in infotext, as sd-webui-controlnet writes them, and back:

    ControlNet 0: "Module: canny, Model: canny_sd15 [d14c016b], Weight: 1.0, Resize Mode: Crop and Resize, …"

Until the autumn of 2023 it wrote the same otherwise, which is read, too:

    ControlNet: "preprocessor: canny, model: canny_sd15 [d14c016b], weight: 1, starting/ending: (0, 1), …,
    preprocessor params: (512, 100, 200)"

What it tells of further fields is left out. Names of files may have commas and colons, by which its own
reader splits. Pictures are not told.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sd_runtime.a1111.controlnet.deciding import Decided
from sd_runtime.a1111.controlnet.preprocessors import RESOLUTION, THRESHOLDS
from sd_runtime.a1111.controlnet.reading import TITLE
from sd_runtime.a1111.schemas.unit import ALIASES, CONTROL_MODES, HR_OPTIONS, RESIZE_MODES, Unit
from sd_runtime.errors import UnsupportedError

#: In the extension's order.
_TOLD = (
    "module",
    "model",
    "weight",
    "resize_mode",
    "processor_res",
    "threshold_a",
    "threshold_b",
    "guidance_start",
    "guidance_end",
    "pixel_perfect",
    "control_mode",
)
#: Which the extension does not tell, though the picture is another by them; where they are not the default.
_TOLD_BESIDE = ("hr_option", "inpaint_crop_input_image")
_FIELDS = (*_TOLD, *_TOLD_BESIDE)

#: Where a value begins, whether or not its field is known: else it would be a part of the one before.
_LABEL = re.compile(r"(?:^|,)\s*([^\W\d_][\w /]*):(?:\s+|$)")
_MODEL = re.compile(r"(?:^|,)\s*model:\s+", re.IGNORECASE)
#: How a ControlNet's title ends.
_HASH = re.compile(r"\[[0-9a-f]{8,64}\](?=,|$)", re.IGNORECASE)
#: What the older form calls a module, and where it tells several fields in one.
_OLD_MODULE = "preprocessor"
_OLD_GROUPS = {
    "starting/ending": ("guidance_start", "guidance_end"),
    "preprocessor_params": ("processor_res", *THRESHOLDS),
}
#: The extension's enumerations with their members in the order of the numbers that they had before.
_ENUMS: Mapping[str, tuple[str, Sequence[str], Sequence[str]]] = {
    "resize_mode": ("ResizeMode", ("RESIZE", "INNER_FIT", "OUTER_FIT"), tuple(RESIZE_MODES.values())),
    "control_mode": ("ControlMode", ("BALANCED", "PROMPT", "CONTROL"), tuple(CONTROL_MODES.values())),
    "hr_option": ("HiResFixOption", ("BOTH", "LOW_RES_ONLY", "HIGH_RES_ONLY"), HR_OPTIONS),
}
#: What it wrote of units that came over its API, by their fields, and what it documents instead.
_MEMBERS = {
    field: {
        spelling: name
        for number, (member, name) in enumerate(zip(members, names, strict=True))
        for spelling in (str(number), f"{enum}.{member}")
    }
    for field, (enum, members, names) in _ENUMS.items()
}
#: In every spelling that a unit's field takes.
_TRUTH: TypeAdapter[bool] = TypeAdapter(bool)
#: Numbered unless the extension had but one unit; some services write it in other case.
_KEY = re.compile(rf"{TITLE}(?: (\d))?", re.IGNORECASE)


def _label(field: str) -> str:
    return " ".join(word.capitalize() for word in field.split("_"))


def pairs(decided: Sequence[Decided]) -> dict[str, str]:
    """What infotext says of the units that took part, numbered from 0."""
    return {f"{TITLE} {number}": _told(each) for number, each in enumerate(decided)}


def _told(decided: Decided) -> str:
    said = {
        "module": decided.module.name,
        "model": decided.network.title,
        **_numbers(decided),
    }
    unit = decided.unit
    values: dict[str, Any] = {}
    for field in _TOLD:
        if field in said:
            values[field] = said[field]
        elif field not in ("processor_res", *THRESHOLDS):
            values[field] = getattr(unit, field)
    defaults = Unit()
    for field in _TOLD_BESIDE:
        if getattr(unit, field) != getattr(defaults, field):
            values[field] = getattr(unit, field)
    return ", ".join(f"{_label(field)}: {_written(field, value)}" for field, value in values.items())


def _numbers(decided: Decided) -> dict[str, float]:
    """The module's parameters, by the fields that set them."""
    thresholds = zip(THRESHOLDS, decided.module.thresholds, strict=False)
    told = {field: decided.numbers[each.name] for field, each in thresholds}
    if RESOLUTION in decided.numbers:
        told["processor_res"] = decided.numbers[RESOLUTION]
    return told


def _written(field: str, value: object) -> str:
    if isinstance(value, IntEnum):
        names: Mapping[Any, str] = RESIZE_MODES if field == "resize_mode" else CONTROL_MODES
        return names[value]
    # Adding 0 makes 0 of what is less than 0 by its sign alone.
    return str(value + 0.0 if isinstance(value, float) else value)


def read(text: str) -> dict[str, str]:
    """The fields that a unit's text tells, by their names; none of another text."""
    before, model, after = _around_model(text)
    said = {**_labelled(after), **_labelled(before)}
    if model:
        said["model"] = model
    if _OLD_MODULE in said:
        said["module"] = said[_OLD_MODULE]
    for label, fields in _OLD_GROUPS.items():
        numbers = (each.strip() for each in said.get(label, "").strip("()").split(","))
        told = zip(fields, numbers, strict=False)
        said |= {field: number for field, number in told if number not in ("", "None")}
    return {field: _as_documented(field, said[field]) for field in _FIELDS if field in said}


def _as_documented(field: str, value: str) -> str:
    """A value that was written as a number or as an enumeration's member by its name."""
    return _MEMBERS.get(field, {}).get(value, value)


def _around_model(text: str) -> tuple[str, str, str]:
    """What is told before the ControlNet, its title, and what is told behind: a title may look like all of
    that, but ends with a hash, as nothing behind it does. No title: everything is "before" it."""
    label = _MODEL.search(text)
    hashes = list(_HASH.finditer(text, label.end())) if label else []
    if label is None or not hashes:
        return text, "", ""
    end = hashes[-1].end()
    return text[: label.start()], text[label.end() : end], text[end:]


def _labelled(text: str) -> dict[str, str]:
    """Each value by its label, as fields are spelled; of several with one label the first."""
    found = list(_LABEL.finditer(text))
    ends = [each.start() for each in found[1:]] + [len(text)] * bool(found)
    said: dict[str, str] = {}
    for each, end in zip(found, ends, strict=True):
        said.setdefault(each[1].lower().replace(" ", "_"), text[each.end() : end].strip())
    return said


def fields_of(said: Mapping[str, str]) -> dict[str, str]:
    """What A1111's reader of infotext adds for the extension: `ControlNet 0 module`, …"""
    return {
        f"{key} {field}": value
        for key, text in said.items()
        if _KEY.fullmatch(key)
        for field, value in read(text).items()
    }


def filled(alwayson_scripts: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, Any]:
    """The scripts of a request with what infotext says of the fields that its units leave unset.

    Infotext numbers those that are on. So its units are those of the request that are on, in their order,
    where there are enough of these; else it is by its number that each is found. Raises `UnsupportedError`
    for a unit's text that tells nothing. What is wrong with the request's own is left to those who read it.
    """
    key = next((each for each in alwayson_scripts if each.lower() == TITLE.lower()), TITLE.lower())
    script = alwayson_scripts.get(key, {})
    args = script.get("args") if isinstance(script, Mapping) else ""
    numbered = _numbered(said)
    if not numbered or not isinstance(args, list | None):
        return dict(alwayson_scripts)
    own = args or []
    are_on = [index for index, each in enumerate(own) if _is_on(each)]
    if len(are_on) > max(numbered):
        numbered = {are_on[number]: told for number, told in numbered.items()}
    count = max(len(own), *(number + 1 for number in numbered))
    # A unit that neither says anything of is off.
    units = [
        _with(numbered.get(index, {}), own[index] if index < len(own) else None) for index in range(count)
    ]
    return {**alwayson_scripts, key: {**script, "args": units}}


def _numbered(said: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """What each unit's text tells, by its number."""
    numbered = {}
    for key, text in said.items():
        found = _KEY.fullmatch(key)
        if found is None:
            continue
        told = read(text)
        if "model" in told:
            numbered[int(found[1] or 0)] = told
        elif found[1]:
            raise UnsupportedError("infotext", f"{key}: {text}", "Module: …, Model: …, Weight: …")
    return numbered


def _is_on(own: object) -> bool:
    """Of a request's unit, before it is read."""
    if not isinstance(own, Mapping):
        return False
    is_enabled = own.get("enabled")
    if is_enabled is None:
        return any(value is not None for value in own.values())
    try:
        return _TRUTH.validate_python(is_enabled)
    except ValidationError:
        return True  # it is refused where it is read


def _with(told: Mapping[str, str], own: object) -> object:
    if not isinstance(own, Mapping | None):
        return own
    given = {name: value for name, value in (own or {}).items() if value is not None}
    own_names = {ALIASES.get(name, name) for name in given}
    if "control_type" in own_names:
        own_names |= {"module", "model"}
    return {name: value for name, value in told.items() if name not in own_names} | given
