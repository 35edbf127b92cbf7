"""docs/reference.md: every field of the kinds, as the API server knows them.

It says what the schemas of crds/ say, and nothing else.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from sd_operator.api.crds import Schema, definitions

_HEADER: Final = """\
# The kinds, field by field

Generated from `operator/sd_operator/api` (`make docs`): what the custom resource definitions in
[crds](../crds) say. `kubectl explain sdinstance.spec --recursive` says the same of the cluster at hand. How
the fields work together is in [sdinstance.md](sdinstance.md), [modelbundle.md](modelbundle.md) and
[sdplugin.md](sdplugin.md).

The group is `sdoperator.dev`, the version `v1alpha1`; all kinds are namespaced. `[]` stands for an item of
a list, `{}` for a value of a map. A field that is in no schema is refused by `kubectl apply` (strict
validation, its default).
"""

#: Bounds of a node, and how they are told.
_BOUNDS: Final = (
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("exclusiveMinimum", "above {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("minProperties", "at least {} entries"),
    ("maxProperties", "at most {} entries"),
)


def document() -> str:
    """The page."""
    crds = list(definitions().values())
    return _HEADER + "".join("\n" + "\n".join(_kind(crd)) + "\n" for crd in crds)


def _kind(crd: Schema) -> Iterator[str]:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    tree = version["schema"]["openAPIV3Schema"]
    yield from (f"## {names['kind']}", "", tree["description"], "")
    yield f"`kubectl get {names['plural']}`, in short `{names['shortNames'][0]}`."
    if "scale" in version["subresources"]:
        yield "Subresource `scale`: `kubectl scale`, an autoscaler."
    fields = [each["jsonPath"].lstrip(".") for each in version.get("selectableFields", [])]
    if fields:
        yield f"`--field-selector` takes {', '.join(f'`{field}`' for field in fields)}."
    for part in ("spec", "status"):
        properties = tree["properties"][part]["properties"]
        yield from ("", f"### {names['kind']}: {part}", "", "| field | type | allowed | meaning |")
        yield "| --- | --- | --- | --- |"
        required, told = tree["properties"][part].get("required", []), dict[str, str]()
        for name, node in properties.items():
            yield from _rows(f"{part}.{name}", node, required=name in required, told=told)
    yield from ("", f"### {names['kind']}: rules", "")
    yield "What the API server checks beyond single fields (CEL), with the sentence that it answers:"
    yield ""
    places: dict[str, list[str]] = {}
    for path, message in _rules("", tree):
        places.setdefault(message, []).append(f"`{path or 'metadata'}`")
    yield from (f"- {', '.join(paths)}: {_cell(message)}" for message, paths in places.items())


def _rows(path: str, node: Schema, *, required: bool, told: dict[str, str]) -> Iterator[str]:
    """A line of the table for the field, and one for each below it that is not `told` of another place."""
    described = _cell(node.get("description", ""))
    if required:
        described = f"**Required.** {described}"
    below, inner = _below(path, node)
    fields = inner.get("properties", {})
    whole = json.dumps(fields, sort_keys=True)
    first = told.setdefault(whole, below) if fields else below
    if first != below:
        described, fields = f"{described} Its fields are those of `{first}`.", {}
    yield f"| `{path}` | {_type(node)} | {_allowed(node)} | {described} |"
    for name, each in fields.items():
        yield from _rows(f"{below}.{name}", each, required=name in inner.get("required", []), told=told)


def _below(path: str, node: Schema) -> tuple[str, Schema]:
    """Where a node's fields are: its own, those of its items or of its values."""
    if "items" in node:
        return _below(f"{path}[]", node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        return _below(f"{path}{{}}", node["additionalProperties"])
    return path, node


def _type(node: Schema) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "items" in node:
        return f"list of {_type(node['items'])}"
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type(node['additionalProperties'])}"
    if node.get("x-kubernetes-preserve-unknown-fields") and "type" not in node:
        return "any"
    kind = str(node["type"])
    return f"{kind} ({node['format']})" if node.get("format") == "date-time" else kind


def _allowed(node: Schema) -> str:
    """Default, choices and bounds, of the items and values too."""
    told = [f"default {_literal(node['default'])}"] if "default" in node else []
    told += _bounds(node)
    for where, key in (("each", "items"), ("each value", "additionalProperties")):
        inner = node.get(key)
        if isinstance(inner, dict):
            told += [f"{where}: {bound}" for bound in _bounds(inner)]
    keys = node.get("x-kubernetes-list-map-keys")
    if keys:
        told.append(f"each `{keys[0]}` once")
    return "; ".join(told)


def _bounds(node: Schema) -> list[str]:
    told = []
    if "enum" in node:
        told.append("one of " + ", ".join(_literal(value) for value in node["enum"]))
    told += [text.format(node[key]) for key, text in _BOUNDS if key in node]
    if "pattern" in node:
        told.append(f"must match {_literal(node['pattern'])}")
    return told


def _rules(path: str, node: Schema) -> Iterator[tuple[str, str]]:
    for rule in node.get("x-kubernetes-validations", []):
        yield path, rule["message"]
    for name, each in node.get("properties", {}).items():
        yield from _rules(f"{path}.{name}".lstrip("."), each)
    if "items" in node:
        yield from _rules(f"{path}[]", node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        yield from _rules(f"{path}{{}}", node["additionalProperties"])


def _literal(value: Any) -> str:
    """A value as code within a table."""
    text = value if isinstance(value, str) and value else json.dumps(value)
    return f"`{text.replace('|', chr(92) + '|')}`"


def _cell(text: str) -> str:
    """A sentence within a table: nothing in it is markup but code between backticks."""
    parts = re.sub(r"\s+", " ", text).split("`")
    parts[::2] = [re.sub(r"([|<>*_\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
