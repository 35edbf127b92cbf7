"""From what a request has under `alwayson_scripts` to its units, and to the texts of the pictures they bring.

Everything that is wrong with one is refused under its place: `alwayson_scripts.controlnet.args.0.weight`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sd_runtime.a1111.fields import Served, mark_of
from sd_runtime.a1111.schemas.body import MAX_ITEMS
from sd_runtime.a1111.schemas.unit import ALIASES, Unit
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError, complaint
from sd_runtime.tasks.recipe import Grey

#: A1111's title of the script; case does not count.
TITLE = "ControlNet"
ARGS = "alwayson_scripts.controlnet.args"
#: sd-webui-controlnet's.
MOST_UNITS = 10

_PICTURES = ("image", "mask", "effective_region_mask")
#: What is judged, and can be written again.
_ECHOED = {
    name
    for name, field in Unit.model_fields.items()
    if isinstance(mark_of(field), Served) and name not in _PICTURES
}
_UNIT = "objects with the fields of a unit, as docs/controlnet.md has them"
_IMAGES = "a text, {image, mask}, [image, mask], or a list of the last two"


def place(index: int, field: str = "") -> str:
    """What a refusal calls a unit, or a field of it."""
    return f"{ARGS}.{index}.{field}" if field else f"{ARGS}.{index}"


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture of a unit as it was sent, with its mask, each beside the name of its field."""

    field: str
    image: str
    mask_field: str = ""
    mask: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture of a unit, decoded, with its mask."""

    image: Pixels
    mask: Grey | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """A unit that takes part, and the pictures that came with it."""

    #: Its place in the request.
    index: int
    unit: Unit
    pictures: tuple[Shown, ...] = ()
    #: Where it has an effect; None: everywhere.
    region: Grey | None = None


def units(alwayson_scripts: Mapping[str, Any]) -> tuple[Unit, ...]:
    """The units of a request in their order, those that are off among them; raises `UnsupportedError`."""
    keys = [key for key in alwayson_scripts if key.lower() == TITLE.lower()]
    if not keys:
        return ()
    if len(keys) > 1:
        raise UnsupportedError("alwayson_scripts", ", ".join(keys), "controlnet once")
    script = alwayson_scripts[keys[0]]
    if not isinstance(script, Mapping):
        raise UnsupportedError("alwayson_scripts.controlnet", script, '{"args": [unit, …]}')
    if script and "args" not in script:
        raise UnsupportedError("alwayson_scripts.controlnet", dict(script), '{"args": [unit, …]}')
    args = script.get("args")
    if args is None:
        return ()
    if not isinstance(args, list):
        raise UnsupportedError(ARGS, args, f"a list of {_UNIT}")
    if len(args) > MOST_UNITS:
        raise UnsupportedError(ARGS, f"{len(args)} units", f"at most {MOST_UNITS}")
    return tuple(_unit(index, each) for index, each in enumerate(args))


def _unit(index: int, value: object) -> Unit:
    if value is None:
        return Unit()
    if not isinstance(value, Mapping):
        allowed = f"{_UNIT}; no values by their positions"
        raise UnsupportedError(place(index), value, allowed)
    named = _by_own_names(index, value)
    if named and not named.keys() & Unit.model_fields.keys():
        # Misspelt, or another extension's: it says something, so it is not left out without a word.
        named["enabled"] = True
    return validated(index, named)


@contextmanager
def in_unit(index: int) -> Iterator[None]:
    """What is refused in here is a field of this unit, and named so."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(place(index, error.field), error.value, error.allowed) from error


def validated(index: int, values: Mapping[str, Any]) -> Unit:
    """The unit with these fields, under their own names; raises `UnsupportedError`."""
    try:
        with in_unit(index):
            return Unit.model_validate(dict(values))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        message = complaint(problem).rpartition(" is not accepted: ")[2]
        raise UnsupportedError(place(index, field), problem["input"], message) from error


def _by_own_names(index: int, values: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, value in values.items():
        own = ALIASES.get(key, key)
        if value is None:
            continue
        if own in named:
            raise UnsupportedError(place(index, key), value, f"{own} or an older name of it, not both")
        named[own] = value
    return named


def sent(index: int, unit: Unit) -> tuple[Sent, ...]:
    """The pictures that a unit brings; none where its image is left open. Raises `UnsupportedError`."""
    at, image = place(index, "image"), unit.image
    if isinstance(image, str) or image is None:
        if not image and unit.mask:
            raise UnsupportedError(place(index, "mask"), unit.mask, "a mask with an image")
        return (Sent(at, image, place(index, "mask"), unit.mask or None),) if image else ()
    if unit.mask:
        raise UnsupportedError(place(index, "mask"), unit.mask, "null, as image brings its own")
    if isinstance(image, list) and image and isinstance(image[0], list | Mapping):
        if len(image) > MAX_ITEMS:
            raise UnsupportedError(at, f"{len(image)} pictures", f"at most {MAX_ITEMS}")
        return tuple(_pair(f"{at}.{number}", each) for number, each in enumerate(image))
    return (_pair(at, image),)


def _pair(at: str, value: object) -> Sent:
    """A picture with its mask, in either form."""
    names: Sequence[object] = ("image", "mask")
    if isinstance(value, Mapping):
        pair = value.get("image"), value.get("mask")
    elif isinstance(value, list) and len(value) == 2:
        pair, names = (value[0], value[1]), (0, 1)
    else:
        raise UnsupportedError(at, value, _IMAGES)
    for name, text in zip(names, pair, strict=True):
        if text is not None and not isinstance(text, str):
            raise UnsupportedError(f"{at}.{name}", text, "a picture as text")
    image, mask = pair
    if not image:
        raise UnsupportedError(f"{at}.{names[0]}", image, "a picture as text")
    return Sent(f"{at}.{names[0]}", str(image), f"{at}.{names[1]}", str(mask) if mask else None)


def without_pictures(alwayson_scripts: Mapping[str, Any], units: Sequence[Unit]) -> dict[str, Any]:
    """The scripts as an answer repeats them: units as they were understood, without pictures, which it
    neither needs nor has room for."""
    args = []
    for each in units:
        told = each.model_dump(mode="json", exclude_unset=True, include=_ECHOED)
        args.append(told | {name: None for name in _PICTURES if name in each.model_fields_set})
    return {
        key: {"args": args} if key.lower() == TITLE.lower() else value
        for key, value in alwayson_scripts.items()
    }
