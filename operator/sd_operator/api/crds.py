"""Generates crds/*.yaml from the models: `python -m sd_operator.api.crds [--check] crds/`.

pydantic's JSON schema becomes a structural schema: references are put in place, optional fields lose their
null, titles go. What JSON schema cannot say (list-maps, CEL rules) is in the fields' `json_schema_extra`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from sd_operator.api.base import Model
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.instance import SDInstance
from sd_operator.api.plugin import NAME_RULE, SDPlugin
from sd_operator.api.schema import rules
from sd_operator.names import (
    GROUP,
    LABEL_PATTERN,
    MODELBUNDLE,
    NAME_PATTERN,
    SDINSTANCE,
    SDPLUGIN,
    VERSION,
    Resource,
)

Schema = dict[str, Any]

HEADER = "# Generated from operator/sd_operator/api: edit there, then run `make crds`.\n"

_READY = '.status.conditions[?(@.type=="Ready")]'
_COMMON_COLUMNS = (
    ("Ready", "string", f"{_READY}.status", 0),
    ("Reason", "string", f"{_READY}.reason", 0),
)
_LAST_COLUMNS = (
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Message", "string", f"{_READY}.message", 1),
)


def structural(schema: Schema, definitions: Schema) -> Schema:
    """One node of pydantic's schema as the API server wants it."""
    node = dict(schema)
    reference = node.pop("$ref", None)
    if reference is not None:
        node = {**definitions[reference.removeprefix("#/$defs/")], **node}
    node.pop("title", None)
    if node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields"):
        node.pop("additionalProperties", None)
        if "x-kubernetes-int-or-string" in node:
            node.pop("type", None)
        _settle_default(node)
        return node
    choices = node.pop("anyOf", None)
    if choices is not None:
        present = [choice for choice in choices if choice.get("type") != "null"]
        if len(present) != 1:
            raise ValueError(f"no structural form for anyOf {choices}")
        node = {**structural(present[0], definitions), **node}
    _settle_default(node)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    for container in ("items", "additionalProperties"):
        if isinstance(node.get(container), dict):
            node[container] = structural(node[container], definitions)
    if "properties" in node:
        node["properties"] = {
            name: structural(value, definitions) for name, value in node["properties"].items()
        }
    return _bounded(node)


def _settle_default(node: Schema) -> None:
    default = node.get("default", ...)
    if default is None or default == []:
        del node["default"]
    elif isinstance(default, dict):
        # In full, because the API server tries the rules of the node on its default as it stands here.
        node["default"] = without_null(default)


def without_null(value: Schema) -> Schema:
    """The value without fields that are not set."""
    return {
        key: without_null(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if item is not None
    }


def _bounded(node: Schema) -> Schema:
    if node.get("type") == "integer" and "minimum" in node:
        node.setdefault("format", "int64")
    if node.get("type") == "object" and "additionalProperties" in node and "maxLength" in node:
        node["maxProperties"] = node.pop("maxLength")
    return node


def _object_schema(model: type[Model]) -> Schema:
    raw = model.model_json_schema(by_alias=True)
    tree = structural(raw, raw.get("$defs", {}))
    tree.pop("$defs", None)
    # metadata is the API server's; a schema may only restrict its name, which we do in CEL to say why.
    tree["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": tree["properties"]["spec"],
        "status": {
            **tree["properties"]["status"],
            # kstatus: without an observed generation a new object would count as done.
            "default": {"observedGeneration": -1},
        },
    }
    # The operator always writes the count; a default would show up in objects that nobody looked at.
    tree["properties"]["status"]["properties"].get("replicas", {}).pop("default", None)
    tree["required"] = ["spec"]
    return _readable(tree)


def _readable(node: Schema) -> Schema:
    """The same schema with description and type before the rest."""
    first = {key: node[key] for key in ("description", "type") if isinstance(node.get(key), str)}
    ordered = {**first, **{key: value for key, value in node.items() if key not in first}}
    for key in ("items", "additionalProperties"):
        if isinstance(ordered.get(key), dict):
            ordered[key] = _readable(ordered[key])
    if "properties" in ordered:
        ordered["properties"] = {name: _readable(value) for name, value in ordered["properties"].items()}
    return ordered


def definition(
    resource: Resource,
    *,
    model: type[Model],
    short_name: str,
    name_rule: tuple[str, str],
    columns: tuple[tuple[str, str, str, int], ...],
    scale: bool,
    selectable: tuple[str, ...] = (),
) -> Schema:
    """The CustomResourceDefinition of one kind; `selectable`: fields for kubectl's --field-selector."""
    schema = _object_schema(model)
    schema.update(rules(name_rule))
    subresources: Schema = {"status": {}}
    if scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [short_name],
                "categories": ["sd"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in columns
                    ],
                    **(
                        {"selectableFields": [{"jsonPath": path} for path in selectable]}
                        if selectable
                        else {}
                    ),
                    "subresources": subresources,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def definitions() -> dict[str, Schema]:
    """File name → CustomResourceDefinition, for every kind."""
    return {
        f"{GROUP}_{MODELBUNDLE.plural}.yaml": _bundle(),
        f"{GROUP}_{SDINSTANCE.plural}.yaml": _instance(),
        f"{GROUP}_{SDPLUGIN.plural}.yaml": _plugin(),
    }


def _bundle() -> Schema:
    return definition(
        MODELBUNDLE,
        model=ModelBundle,
        short_name="sdmb",
        name_rule=(
            f"self.metadata.name.matches('{LABEL_PATTERN}')",
            "metadata.name must be at most 63 lower-case letters, digits and dashes, beginning and "
            "ending with a letter or digit: it becomes a label and the name of a volume",
        ),
        columns=(
            *_COMMON_COLUMNS,
            ("Files", "string", ".status.progress.files", 0),
            ("Percent", "integer", ".status.progress.percent", 0),
            ("Size", "string", ".status.progress.size", 0),
            ("Capacity", "string", ".status.volume.capacity", 1),
            ("Policy", "string", ".spec.formatPolicy", 1),
            *_LAST_COLUMNS,
        ),
        scale=False,
    )


def _instance() -> Schema:
    return definition(
        SDINSTANCE,
        model=SDInstance,
        short_name="sdi",
        name_rule=(
            f"self.metadata.name.matches('{NAME_PATTERN}')",
            "metadata.name must be at most 63 lower-case letters, digits and dashes, beginning with a "
            "letter and ending with a letter or digit: the Service has the same name",
        ),
        columns=(
            *_COMMON_COLUMNS,
            ("Replicas", "integer", ".status.replicas", 0),
            ("Loaded", "integer", ".status.models.loaded", 0),
            ("Checkpoint", "string", ".spec.checkpoint.file", 0),
            ("VRAM", "string", ".status.vram.requested", 0),
            ("Device", "string", ".status.acceleration.device", 0),
            _LAST_COLUMNS[0],
            ("Backend", "string", ".status.vram.backend", 1),
            ("Endpoint", "string", ".status.endpoint", 1),
            _LAST_COLUMNS[1],
        ),
        scale=True,
        selectable=(".spec.checkpoint.bundle", ".spec.checkpoint.file", ".spec.gpu.backend"),
    )


def _plugin() -> Schema:
    return definition(
        SDPLUGIN,
        model=SDPlugin,
        short_name="sdp",
        name_rule=NAME_RULE,
        columns=(
            ("Kind", "string", ".spec.kind", 0),
            *_COMMON_COLUMNS,
            ("Instances", "string", ".status.instances", 0),
            ("Version", "string", ".status.version", 0),
            ("Image", "string", ".spec.image", 0),
            _LAST_COLUMNS[0],
            ("Used By", "string", ".status.usedBy", 1),
            _LAST_COLUMNS[1],
        ),
        scale=False,
        selectable=(".spec.kind",),
    )


class _Dumper(yaml.SafeDumper):
    """Without anchors: people read and diff these files."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered() -> dict[str, str]:
    """File name → text, for every kind."""
    return {
        name: HEADER + yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
        for name, crd in definitions().items()
    }


def stale(folder: Path) -> list[str]:
    """Names of the files in `folder` that are not what the models say."""
    return [
        name
        for name, text in rendered().items()
        if not (folder / name).is_file() or (folder / name).read_text() != text
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check say which are stale."""
    parser = argparse.ArgumentParser(prog="python -m sd_operator.api.crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.check:
        names = stale(options.folder)
        for name in names:
            sys.stderr.write(f"{options.folder / name} is stale: run `make crds`\n")
        return 1 if names else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (options.folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
