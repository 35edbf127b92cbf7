"""Charts as Helm renders them, without a cluster: with their defaults and with each ci/*-values.yaml.

It knows nothing of what is right in a manifest.
"""

import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CHARTS = sorted(path.parent for path in (ROOT / "charts").glob("*/Chart.yaml"))
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """A chart, and the values that it is rendered with besides its own."""

    chart: Path
    values: Path | None = None

    @property
    def name(self) -> str:
        values = "defaults" if self.values is None else self.values.name.removesuffix("-values.yaml")
        return f"{self.chart.name}-{values}"

    @property
    def arguments(self) -> tuple[str, ...]:
        return () if self.values is None else ("--values", str(self.values))


def scenarios() -> list[Scenario]:
    return [
        Scenario(chart, values)
        for chart in CHARTS
        for values in (None, *sorted(chart.glob("ci/*-values.yaml")))
    ]


@functools.cache
def tool(name: str) -> str:
    """A pinned program; built the first time."""
    found = subprocess.run([ROOT / "hack/go-tool", name], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@functools.cache
def rendered(chart: Path, *arguments: str) -> str:
    """What Helm makes of a chart: the release `release` in the namespace `ns`, its tests among it."""
    found = subprocess.run(
        [tool("helm"), "template", "release", str(chart), "--namespace", "ns", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def manifests(text: str) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(text) if each]


def of(scenario: Scenario) -> list[Manifest]:
    return manifests(rendered(scenario.chart, *scenario.arguments))


def pod_specs(node: Any) -> Iterator[Manifest]:
    """Every pod's spec within a manifest, however deep."""
    if isinstance(node, dict):
        if isinstance(node.get("containers"), list):
            yield node
        for value in node.values():
            yield from pod_specs(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_specs(value)


def images(found: list[Manifest]) -> set[str]:
    """The images of containers, of SDPlugins, and those that the operator is told of to start."""
    named = set()
    for manifest in found:
        if manifest["kind"] in ("SDPlugin", "SDInstance") and "image" in manifest["spec"]:
            named.add(manifest["spec"]["image"])
        for spec in pod_specs(manifest):
            for container in (*spec["containers"], *spec.get("initContainers", [])):
                named.add(container["image"])
                environment = container.get("env") or []
                named.update(each["value"] for each in environment if each["name"].endswith("_IMAGE"))
    return named
