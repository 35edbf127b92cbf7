"""The operator's chart as Helm renders it, without a cluster."""

import functools
import subprocess
import sys
from typing import Any

import yaml
from chart_rendering import ROOT, pod_specs, tool

Object = dict[str, Any]

CHART = ROOT / "charts" / "sd-operator"
RELEASE, NAMESPACE = "operator", "ops"
#: Switches that are off by default.
EVERYTHING = tuple(
    f"{name}.enabled=true"
    for name in ("podDisruptionBudget", "networkPolicy", "serviceMonitor", "prometheusRule", "dashboard")
)


# The judge of pods is that of the pods which the operator makes.
sys.path.append(str(ROOT / "tests" / "unit" / "operator"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("helm"), *arguments], capture_output=True, text=True, check=False)


def template(*sets: str, release: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """The manifests as text; each of `sets` is NAME=VALUE."""
    options = [word for each in sets for word in ("--set", each)]
    done = run("template", release, str(CHART), "--namespace", namespace, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def render(*sets: str, release: str = RELEASE, namespace: str = NAMESPACE) -> tuple[Object, ...]:
    """The manifests."""
    text = template(*sets, release=release, namespace=namespace)
    return tuple(document for document in yaml.safe_load_all(text) if document)


def only(kind: str, *sets: str, name: str | None = None) -> Object:
    """The one manifest of a kind, or of a kind and name."""
    found = [
        manifest
        for manifest in render(*sets)
        if manifest["kind"] == kind and name in (None, manifest["metadata"]["name"])
    ]
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]


def notes(*sets: str) -> str:
    """What `helm install` says, without a cluster."""
    options = [word for each in sets for word in ("--set", each)]
    done = run("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("NOTES:", 1)[1]


def pods(manifests: tuple[Object, ...]) -> list[Object]:
    """The spec of every pod, at whatever depth."""
    return [spec for manifest in manifests for spec in pod_specs(manifest)]


def environment(*sets: str) -> dict[str, str]:
    """What the operator is told, as far as it is text."""
    (container,) = only("Deployment", *sets)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}
