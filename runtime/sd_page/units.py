"""ControlNet units between the page's fields and the interface's words: bodies of requests, and what infotext
tells of units. Knows no component.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sd_page.reading import finite
from sd_page.requests import base64_of

ARGS = "alwayson_scripts.controlnet.args"
#: Units that the page has: as many as the option control_net_unit_count says unless it is changed. Each is
#: some forty components, and ten of them keep a browser busy for a minute.
MOST = 3
#: Units that a request may have at all, and infotext tell of.
MOST_TOLD = 10
#: What a unit's field `source` says; the page's own, as the interface tells by the form of `image`.
SINGLE, SET = "single", "set"

#: Fields that go along as they are.
_PLAIN = (
    "module",
    "model",
    "weight",
    "guidance_start",
    "guidance_end",
    "control_mode",
    "resize_mode",
    "pixel_perfect",
    "processor_res",
    "threshold_a",
    "threshold_b",
    "hr_option",
)
RESIZE_MODES = ("Just Resize", "Crop and Resize", "Resize and Fill")
CONTROL_MODES = ("Balanced", "My prompt is more important", "ControlNet is more important")
#: The interface's, by their places.
DEFAULTS = {"control_mode": 0, "resize_mode": 1}
HR_OPTIONS = ("Both", "Low res only", "High res only")
#: Infotext's words for fields of a unit, each beside how its value is read.
_TOLD: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Module": ("module", str),
    "Model": ("model", str),
    "Weight": ("weight", finite),
    "Resize Mode": ("resize_mode", RESIZE_MODES.index),
    "Processor Res": ("processor_res", finite),
    "Threshold A": ("threshold_a", finite),
    "Threshold B": ("threshold_b", finite),
    "Guidance Start": ("guidance_start", finite),
    "Guidance End": ("guidance_end", finite),
    "Pixel Perfect": ("pixel_perfect", "True".__eq__),
    "Control Mode": ("control_mode", CONTROL_MODES.index),
    "Hr Option": ("hr_option", str),
}
#: The fields that infotext tells.
TOLD = tuple(field for field, _ in _TOLD.values())
_UNIT = re.compile(r"^ControlNet (\d)$")
#: Where a value begins. Split by these alone, as names of files may have commas.
_LABEL = re.compile(rf"(?:^|,)\s*({'|'.join([*_TOLD, 'Inpaint Crop Input Image'])}):\s")


def place(unit: int, field: str) -> str:
    """A field of a unit as the form and refusals call it."""
    return f"{ARGS}.{unit}.{field}"


def args(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The units of a request, of a form's values by field: all up to the last that is on, so that a refusal
    counts them as the page does; none where none is on. Reads the files of their pictures."""
    last = max((n for n in range(MOST) if values.get(place(n, "enabled"))), default=-1)
    return [_body(n, values) for n in range(last + 1)]


def pictures(unit: int, values: Mapping[str, Any]) -> list[str]:
    """The files that a unit's picture, or its set, was uploaded to."""
    if values.get(place(unit, "source")) == SET:
        return [_path(each) for each in values.get(place(unit, "image_set")) or ()]
    single = values.get(place(unit, "image"))
    return [single] if single else []


def named(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The files of pictures that `args` would read, each behind its field."""
    units = [n for n in range(MOST) if values.get(place(n, "enabled"))]
    return [each for n in units for each in named_of(n, values)]


def named_of(unit: int, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Those of one unit, whether it is on or not."""
    files = [(place(unit, "image"), each) for each in pictures(unit, values)]
    mask = values.get(place(unit, "mask"))
    if mask and values.get(place(unit, "source")) != SET:
        files.append((place(unit, "mask"), mask))
    return files


#: The fields that `detection` reads.
DETECTED = (
    "module",
    "source",
    "image",
    "image_set",
    "mask",
    "processor_res",
    "threshold_a",
    "threshold_b",
)


def detection(unit: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /controlnet/detect for the pictures of a unit. Reads their files."""
    body: dict[str, Any] = {
        "controlnet_module": values.get(place(unit, "module")),
        "controlnet_input_images": [base64_of(each) for each in pictures(unit, values)],
    }
    for field in ("processor_res", "threshold_a", "threshold_b"):
        value = values.get(place(unit, field))
        if value is not None:
            body[f"controlnet_{field}"] = value
    mask = values.get(place(unit, "mask"))
    if mask and values.get(place(unit, "source")) != SET:
        body["controlnet_masks"] = [base64_of(mask)]
    return body


def of_infotext(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values by field of the units that infotext tells of (its pairs: `ControlNet 0` and `Module: canny, …`).
    All others are turned off; of pictures infotext tells nothing. Units that the page does not have are told,
    too, so that it can say so."""
    values: dict[str, Any] = {place(n, "enabled"): False for n in range(MOST)}
    for key, told in parameters.items():
        number = _UNIT.match(key)
        if number is None:
            continue
        unit = int(number[1])
        values[place(unit, "enabled")] = True
        values |= {place(unit, field): value for field, value in _told(str(told)).items()}
    return values


def _body(unit: int, values: Mapping[str, Any]) -> dict[str, Any]:
    if not values.get(place(unit, "enabled")):
        return {"enabled": False}
    body: dict[str, Any] = {"enabled": True}
    for field in _PLAIN:
        value = values.get(place(unit, field))
        if value is not None:
            body[field] = value
    files = pictures(unit, values)
    mask = values.get(place(unit, "mask"))
    if files and values.get(place(unit, "source")) == SET:
        body["image"] = [{"image": base64_of(each)} for each in files]
    elif files:
        body["image"] = base64_of(files[0])
    # Of one picture; a set has none.
    if mask and values.get(place(unit, "source")) != SET:
        body["mask"] = base64_of(mask)
    return body


def _told(text: str) -> dict[str, Any]:
    # A label, the value behind it, the next label, …
    _, *parts = _LABEL.split(text)
    found: dict[str, Any] = {}
    for label, value in zip(parts[::2], parts[1::2], strict=True):
        field, read = _TOLD.get(label, ("", str))
        # Another program may have written it; what cannot be read keeps the page's value.
        with suppress(ValueError):
            found[field] = read(value.strip())
    found.pop("", None)
    return found


def _path(item: str | Sequence[Any]) -> str:
    """Of a gallery's item, which is a path with or without a caption."""
    return item if isinstance(item, str) else str(item[0])
