"""How each request field of A1111 is treated: the marks that stand in the schemas, and the check they imply.

Three treatments: served; accepted only at values that change nothing (anything else is refused by name); and
without effect, in A1111 too, because the feature it belongs to is off. The compatibility table of the docs is
made from the marks.
"""

import json
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sd_runtime.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Served:
    """The field is honoured; `note` tells where it differs from A1111."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class NeutralOnly:
    """The feature is not served: only the values that leave it off are accepted."""

    values: tuple[object, ...]
    why: str


@dataclass(frozen=True, slots=True)
class NoEffect:
    """Accepted at any value of its type: A1111 does not look at it either while the feature it belongs to is
    off."""

    why: str


Mark = Served | NeutralOnly | NoEffect


def mark_of(field: FieldInfo) -> Mark:
    """The treatment of a field of a schema; every field has exactly one."""
    (mark,) = (item for item in field.metadata if isinstance(item, Served | NeutralOnly | NoEffect))
    return mark


def refuse_unserved(request: BaseModel) -> None:
    """Raises `UnsupportedError` for the first field whose value asks for a feature that is not served."""
    for name, field in type(request).model_fields.items():
        mark = mark_of(field)
        if isinstance(mark, NeutralOnly) and not is_neutral(getattr(request, name), mark):
            allowed = ", ".join(spelled(value) for value in mark.values)
            raise UnsupportedError(name, getattr(request, name), f"{allowed} ({mark.why})")


def is_neutral(value: object, mark: NeutralOnly) -> bool:
    """Whether the value leaves the feature off. Texts count without regard to case and surrounding space."""
    wanted = value.strip().lower() if isinstance(value, str) else value
    return any(wanted == (v.lower() if isinstance(v, str) else v) for v in mark.values)


def spelled(value: object) -> str:
    """A value as JSON writes it, for messages and tables."""
    return json.dumps(value, ensure_ascii=False)
