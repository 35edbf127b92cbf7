"""Charts as a marketplace in kubebb's style renders them (hack/kubebb-render: Helm 3.9.4's own library)."""

import functools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "kubebb"
CHARTS = sorted(path.parent.name for path in (ROOT / "charts").glob("*/Chart.yaml"))
#: An image of this project, by whatever registry.
IMAGE = re.compile(r"[^\s/]+/sd-operator/[a-z-]+[:@]\S+")


@functools.cache
def program(name: str = "kubebb-render") -> str:
    """Where it is; built if it has to be (two minutes, once)."""
    built = subprocess.run(
        [ROOT / "hack" / "kubebb-render" / "build", name], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


@functools.cache
def helm() -> str:
    """Where the pinned Helm is."""
    found = subprocess.run([ROOT / "hack" / "go-tool", "helm"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def run(*words: str | Path, environment: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program(), *words], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def told(*words: str | Path, environment: Mapping[str, str] = {}) -> Any:
    done = run(*words, environment=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def chart_yaml(chart: str) -> Object:
    found: Object = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
    return found


@functools.cache
def catalogue(chart: str) -> Any:
    return told("catalogue", ROOT / "charts" / chart)


@functools.cache
def example(chart: str) -> Any:
    """The first installation of the chart by the example's plan, which chooses something in every chart."""
    return told("plan", ROOT / "charts" / chart, EXAMPLES / chart / "componentplan.yaml")


def documents(*texts: str) -> list[Object]:
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def everything(rendered: Mapping[str, Any]) -> list[Object]:
    """The objects of a manifest, and its hooks."""
    return documents(rendered["manifest"], *rendered["hooks"])


def strings(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for each in node:
            yield from strings(each)
    elif isinstance(node, dict):
        for each in node.values():
            yield from strings(each)


def images(objects: list[Object]) -> set[str]:
    """Every image that these objects name, wherever: in pods, in settings of the operator, in its kinds."""
    return {text for text in strings(objects) if IMAGE.fullmatch(text)}


def chosen(chart: str) -> Object:
    """The values of the example's plan."""
    plan = yaml.safe_load((EXAMPLES / chart / "componentplan.yaml").read_text())
    found: Object = plan["spec"].get("override", {}).get("values", {})
    return found


def a_plan(folder: Path, *, name: str = "pictures", namespace: str = "sd-demo", **override: Any) -> Path:
    """A file with a ComponentPlan; `set_string` stands for what YAML calls set-string."""
    spelt = {key.replace("_", "-"): value for key, value in override.items()}
    plan = {
        "apiVersion": "core.kubebb.k8s.com.cn/v1alpha1",
        "kind": "ComponentPlan",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"name": name, "override": spelt},
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def beside(folder: Path, *objects: Object) -> Path:
    """A file with what the plan finds: a Repository, ConfigMaps, Secrets."""
    path = folder / "beside.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return path
