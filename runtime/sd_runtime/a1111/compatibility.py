"""The compatibility table of the docs, made from the tables that the server itself goes by.

`python -m sd_runtime.a1111.compatibility` prints it as Markdown.
"""

import sys
from collections.abc import Iterable

from sd_runtime.a1111 import coverage, options
from sd_runtime.a1111.fields import NeutralOnly, NoEffect, mark_of, spelled
from sd_runtime.a1111.schemas import Txt2ImgRequest


def markdown() -> str:
    """Routes, fields and options, each with how it is treated."""
    return "\n".join(
        [
            "## Routes",
            "",
            *_table(("route", "served", "note"), _routes()),
            "",
            "Every other path is answered with 404.",
            "",
            "## Fields of txt2img",
            "",
            *_table(("field", "default", "treatment", "note"), _fields()),
            "",
            "Keys that A1111 does not know are ignored, as A1111 does.",
            "",
            "## Options",
            "",
            *_table(("option", "values", "note"), _options()),
        ]
    )


def _routes() -> Iterable[tuple[str, ...]]:
    for served, table in (("yes", coverage.SERVED), ("501", coverage.NOT_SERVED)):
        for route, note in table.items():
            method, path = route.split(" ")
            yield f"{method} {path if path.startswith('/') else f'/sdapi/v1/{path}'}", served, note


def _fields() -> Iterable[tuple[str, ...]]:
    for name, field in Txt2ImgRequest.model_fields.items():
        mark = mark_of(field)
        default = f"`{spelled(field.default)}`"
        if isinstance(mark, NeutralOnly):
            values = ", ".join(f"`{spelled(value)}`" for value in mark.values)
            yield f"`{name}`", default, "refused", f"{mark.why}; accepted: {values}"
        elif isinstance(mark, NoEffect):
            yield f"`{name}`", default, "no effect", mark.why
        else:
            yield f"`{name}`", default, "served", mark.note


def _options() -> Iterable[tuple[str, ...]]:
    yield f"`{options.CHECKPOINT}`", "any spelling of the served checkpoint's name", "set by the SDInstance"
    for name, option in options.CHANGEABLE.items():
        yield f"`{name}`", option.allowed, ""
    for name, (value, why) in options.FIXED.items():
        yield f"`{name}`", f"`{spelled(value)}` only", why


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
