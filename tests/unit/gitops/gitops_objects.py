"""The objects of examples/gitops that Argo CD and Flux read. It knows nothing of what is right in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
GITOPS = ROOT / "examples/gitops"
Manifest = dict[str, Any]


def documents() -> Iterator[tuple[Path, Manifest]]:
    """Every object that is Argo CD's or Flux's, with its file."""
    for path in sorted(GITOPS.rglob("*.yaml")):
        if "resource_customizations" not in path.parts:
            for each in yaml.safe_load_all(path.read_text()):
                if "toolkit.fluxcd.io" in each["apiVersion"] or "argoproj.io" in each["apiVersion"]:
                    yield path, each


def of_kind(kind: str) -> dict[str, Manifest]:
    """The specs of a kind by the objects' names."""
    return {each["metadata"]["name"]: each["spec"] for _, each in documents() if each["kind"] == kind}


def environment(objects: list[Manifest]) -> dict[str, Any]:
    """What the operator is told: text, or where it is read from."""
    (operator,) = [each for each in objects if each["kind"] == "Deployment"]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
