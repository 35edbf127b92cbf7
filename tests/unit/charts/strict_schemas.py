"""JSON schemas of kinds, as strict as an API server that is asked to refuse unknown fields.

Made from what Kubernetes itself says of its API, one version at a time, and from custom resource
definitions. It knows no rules beyond types: CEL and admission need a server.
"""

import functools
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from hack.chart_schema import draft7

Schema = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
PROMETHEUS = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# What Kubernetes' description calls a string although more is taken.
INT_OR_STRING: Schema = {"type": ["integer", "string"]}
QUANTITY: Schema = {
    "type": ["number", "string"],
    "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
}
BASE64: Schema = {"type": "string", "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}
WHERE = "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json"


class Loader(yaml.CSafeLoader):
    """YAML, fast, in which the character = is a string as in YAML 1.2."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def run(*command: str) -> Path:
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


@functools.cache
def kubernetes_folder() -> Path:
    return run("hack/kubernetes-schemas")


def versions() -> list[str]:
    """The versions of Kubernetes, as in v1.37.2. Read in the script: to list tests, nothing is fetched."""
    line = next(
        line
        for line in (ROOT / "hack/kubernetes-schemas").read_text().splitlines()
        if line.startswith("versions=(")
    )
    return line.removeprefix("versions=(").removesuffix(")").split()


def strict(node: Any) -> Any:
    """A part of Kubernetes' description that refuses what it does not list."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string":
        return INT_OR_STRING
    if node.get("format") == "byte":
        return BASE64
    found = {key: node[key] for key in ("$ref", "type", "enum", "required") if key in node}
    if "properties" in node:
        found["properties"] = {key: strict(value) for key, value in node["properties"].items()}
        found["additionalProperties"] = False
    for container in ("items", "additionalProperties"):
        if isinstance(node.get(container), dict):
            found[container] = strict(node[container])
    return found


class Kinds:
    """The kinds of one version of Kubernetes, and those of custom resource definitions."""

    def __init__(self, version: str, definitions: Iterable[Schema]) -> None:
        swagger = json.loads((kubernetes_folder() / f"{version}.json").read_text())
        self._parts: Schema = {name: strict(part) for name, part in swagger["definitions"].items()}
        self._parts["io.k8s.apimachinery.pkg.api.resource.Quantity"] = QUANTITY
        self._names = {
            (each["group"], each["version"], each["kind"]): name
            for name, part in swagger["definitions"].items()
            for each in part.get("x-kubernetes-group-version-kind", [])
        }
        self._custom = dict(self._described(definitions))

    @staticmethod
    def _described(definitions: Iterable[Schema]) -> Iterable[tuple[tuple[str, str, str], Schema]]:
        for crd in definitions:
            for version in crd["spec"]["versions"]:
                schema = draft7(version["schema"]["openAPIV3Schema"])
                schema["properties"] |= {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"$ref": f"#/definitions/{OBJECT_META}"},
                }
                yield (crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"]), schema

    def _reached(self, node: Any, into: Schema) -> None:
        if isinstance(node, list):
            for each in node:
                self._reached(each, into)
        elif isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix("#/definitions/")
            if name in self._parts and name not in into:
                into[name] = self._parts[name]
                self._reached(self._parts[name], into)
            for value in node.values():
                self._reached(value, into)

    def schema(self, api_version: str, kind: str) -> Schema | None:
        """None where this version of Kubernetes does not have the kind."""
        group, _, version = api_version.rpartition("/")
        key = (group, version, kind)
        if key in self._custom:
            found = self._custom[key]
        elif key in self._names:
            found = {"$ref": f"#/definitions/{self._names[key]}"}
        else:
            return None
        reached: Schema = {}
        self._reached(found, reached)
        whole = {"required": ["apiVersion", "kind", "metadata"]}
        return {"allOf": [found, whole], "definitions": reached}

    def write(self, kinds: Iterable[tuple[str, str]], folder: Path) -> str:
        """Writes the schemas of these (apiVersion, kind), and says where kubeconform finds them."""
        folder.mkdir(parents=True, exist_ok=True)
        for api_version, kind in kinds:
            schema = self.schema(api_version, kind)
            group, _, version = api_version.rpartition("/")
            if schema is not None:
                (folder / f"{group or version}_{version}_{kind.lower()}.json").write_text(json.dumps(schema))
        return f"{folder}/{WHERE}"


@functools.cache
def custom_definitions() -> tuple[Schema, ...]:
    """Our own kinds, and those of the Prometheus operator."""
    theirs = run("hack/go-module", PROMETHEUS) / "example/prometheus-operator-crd"
    files = [
        theirs / f"monitoring.coreos.com_{plural}.yaml" for plural in ("prometheusrules", "servicemonitors")
    ]
    files.extend(sorted((ROOT / "crds").glob("*.yaml")))
    return tuple(yaml.load(file.read_bytes(), Loader=Loader) for file in files)
