"""The compatibility table of the docs, made from the tables that the server itself goes by.

`python -m sd_runtime.a1111.compatibility` prints it as Markdown.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from sd_runtime.a1111 import coverage, option_table
from sd_runtime.a1111.fields import NeutralOnly, NoEffect, mark_of, spelled
from sd_runtime.a1111.schemas import GenerationRequest, Img2ImgRequest, PngInfoRequest, Txt2ImgRequest
from sd_runtime.a1111.schemas.controlnet import DetectRequest
from sd_runtime.a1111.schemas.extras import ExtrasBatchRequest, ExtrasRequest, ExtrasSingleRequest
from sd_runtime.a1111.schemas.unit import Unit

#: Each route's schema, and the one whose fields are told before it.
SCHEMAS: dict[str, tuple[type[BaseModel], type[BaseModel] | None]] = {
    "txt2img and img2img": (GenerationRequest, None),
    "txt2img": (Txt2ImgRequest, GenerationRequest),
    "img2img": (Img2ImgRequest, GenerationRequest),
    "a unit of alwayson_scripts.controlnet": (Unit, None),
    "controlnet/detect": (DetectRequest, None),
    "extra-single-image and extra-batch-images": (ExtrasRequest, None),
    "extra-single-image": (ExtrasSingleRequest, ExtrasRequest),
    "extra-batch-images": (ExtrasBatchRequest, ExtrasRequest),
    "png-info": (PngInfoRequest, None),
}


def markdown() -> str:
    """Routes, fields and options, each with how it is treated."""
    lines = [
        "# What of A1111's API is served",
        "",
        "Generated from the tables that the server itself goes by (`make docs`). How it behaves is in",
        "[runtime.md](runtime.md), ControlNet in [controlnet.md](controlnet.md).",
        "",
        "## Routes",
        "",
        *_table(("route", "served", "note"), _routes()),
        "",
        "Every other path is answered with 404.",
        "",
    ]
    for title, (schema, base) in SCHEMAS.items():
        lines += [f"## Fields of {title}", ""]
        if base is not None:
            lines += ["Beside those above:", ""]
        lines += [*_table(("field", "default", "limits", "treatment", "note"), _fields(schema, base)), ""]
    lines += [
        "Keys that A1111 does not know are ignored, as A1111 does.",
        "",
        "## Options",
        "",
        *_table(("option", "default", "values", "note"), _options()),
    ]
    return "\n".join(lines)


def _routes() -> Iterable[tuple[str, ...]]:
    for served, table in (("yes", coverage.SERVED), ("501", coverage.NOT_SERVED)):
        for route, note in table.items():
            method, path = route.split(" ")
            yield f"{method} {path if path.startswith('/') else f'/sdapi/v1/{path}'}", served, note


def _fields(schema: type[BaseModel], base: type[BaseModel] | None) -> Iterable[tuple[str, ...]]:
    properties = schema.model_json_schema()["properties"]
    for name, field in schema.model_fields.items():
        if base is not None and name in base.model_fields:
            continue
        mark = mark_of(field)
        default = "needed" if field.is_required() else f"`{spelled(field.default)}`"
        limits = _limits(properties[name])
        if isinstance(mark, NeutralOnly):
            values = ", ".join(f"`{spelled(value)}`" for value in mark.values)
            yield f"`{name}`", default, "", "refused", f"{mark.why}; accepted: {values}"
        elif isinstance(mark, NoEffect):
            yield f"`{name}`", default, limits, "no effect", mark.why
        else:
            yield f"`{name}`", default, limits, "served", mark.note


def _limits(told: Mapping[str, Any]) -> str:
    """Of a number, or of how many items there may be, as the field's JSON schema tells them."""
    # Those of a field that may be null are in a branch.
    for branch in (told, *told.get("anyOf", ())):
        if "maximum" in branch:
            above = "exclusiveMinimum" in branch
            least = f"above {branch['exclusiveMinimum']}" if above else branch["minimum"]
            steps = f", multiples of {branch['multipleOf']}" if "multipleOf" in branch else ""
            # 100.0 is 100, and no whole number is rounded.
            most = branch["maximum"]
            return f"{least} to {int(most) if most == int(most) else most}{steps}"
        most = branch.get("maxItems", branch.get("maxProperties"))
        if most is not None:
            return (
                f"{branch['minItems']} to {most} items" if "minItems" in branch else f"at most {most} items"
            )
    return ""


def _options() -> Iterable[tuple[str, ...]]:
    yield (
        f"`{option_table.CHECKPOINT}`",
        "the served one",
        "any spelling of a checkpoint's name",
        "in override_settings for one request; over POST options where no SDInstance says which is served",
    )
    yield f"`{option_table.DIGEST}`", "the served one's", "the served checkpoint's", "follows the checkpoint"
    for name, option in option_table.CHANGEABLE.items():
        yield f"`{name}`", f"`{spelled(option_table.default_of(option))}`", option.allowed, option.note
    yield "`outdir_…`", "SD_OUTPUT_DIR and A1111's folders below it", "the default only", "set by the process"
    for name, (value, why) in option_table.FIXED.items():
        yield f"`{name}`", f"`{spelled(value)}`", "the default only", why


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
