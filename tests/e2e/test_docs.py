"""All YAML of the documentation is taken by the API server as it is written, and the runbook's commands run.

What a block is stands behind its fence (tests/unit/docs/doc_pages.py). Of the blocks nothing is created: dry
runs on the server, with all of its admission, Pod Security `restricted` among it.
"""

import json
import shlex
import subprocess
from typing import Any

import pytest
import yaml
from cluster import Cluster, ClusterError, Kube

from sd_operator.api.reasons import Reason
from tests.unit.docs import doc_pages
from tests.unit.docs.doc_pages import LEAST, Block, manifests

BLOCKS = doc_pages.yaml_blocks()
#: Groups that the cluster of the tests does not have, and what looks at their objects instead.
FOREIGN = {
    "keda.sh": "KEDA is not installed; that /scale works is shown by tests/e2e/test_instance.py",
    "core.kubebb.k8s.com.cn": "not installed; tests/unit/charts/test_kubebb_examples.py knows its API",
}


def group(manifest: dict[str, Any]) -> str:
    return str(manifest["apiVersion"]).partition("/")[0]


def custom(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """An object of one of the project's kinds."""
    return {
        "apiVersion": "sdoperator.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


#: --force-conflicts: another object of the name may be there, such as the chart's.
DRY_RUN = (
    "apply",
    "--server-side",
    "--dry-run=server",
    "--field-manager=docs",
    "--force-conflicts",
    "-f",
    "-",
)


def try_on_server(kube: Kube, objects: list[dict[str, Any]]) -> None:
    for each in objects:
        if each["metadata"].get("namespace"):
            each["metadata"]["namespace"] = kube.namespace
        kube.run(*DRY_RUN, stdin=json.dumps(each))


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if not doc_pages.chart_of(block)], ids=lambda block: block.name
)
def test_the_api_server_takes_what_a_page_shows(kube: Kube, block: Block) -> None:
    objects = manifests(block)
    try_on_server(kube, [each for each in objects if group(each) not in FOREIGN])


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if doc_pages.chart_of(block)], ids=lambda block: block.name
)
def test_a_chart_takes_the_values_that_a_page_shows(cluster: Cluster, kube: Kube, block: Block) -> None:
    chart = doc_pages.chart_of(block)
    rendered = render(cluster, chart, block.text)
    objects = [each for each in yaml.safe_load_all(rendered) if each]
    hooks = "helm.sh/hook"
    ours = [each for each in objects if hooks not in each["metadata"].get("annotations", {})]
    if chart == "sd-operator":
        # Its cluster-wide objects are those of the operator that the tests run against.
        ours = [each for each in ours if each["metadata"].get("namespace")]
    try_on_server(kube, [each for each in ours if group(each) != "monitoring.coreos.com"])


def render(cluster: Cluster, chart: str, values: str) -> str:
    """What Helm makes of the chart with these values; its words where it refuses them."""
    done = subprocess.run(
        ["helm", "template", "shown", str(doc_pages.ROOT / "charts" / chart), "-n", "shown", "-f", "-"],
        env=cluster.environment,
        input=values,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_groups_that_are_not_here_are_shown_somewhere_and_not_here(cluster: Cluster) -> None:
    shown = {group(each) for block in BLOCKS if not doc_pages.chart_of(block) for each in manifests(block)}
    served = cluster.run("api-versions").split()
    for name in FOREIGN:
        assert name in shown, f"no page shows an object of {name} any more"
        assert not any(each.startswith(f"{name}/") for each in served), f"{name} is served: try it"


@pytest.fixture(scope="module")
def looked_at(kube: Kube) -> str:
    """One object of each kind, by the same name."""
    bundle = LEAST["ModelBundle"] | {
        "files": [
            {
                "name": "base",
                "type": "Checkpoint",
                "source": {"http": {"url": "http://127.0.0.1/a.safetensors"}},
            }
        ]
    }
    instance = {"models": [{"name": "look"}], "checkpoint": {"bundle": "look", "file": "base"}, "replicas": 0}
    specs = {
        "ModelBundle": bundle,
        "SDInstance": instance | {"access": {"auth": "Disabled"}, "gpu": {"backend": "None"}},
        "SDPlugin": LEAST["SDPlugin"],
    }
    kube.apply(*(custom(kind, "look", spec) for kind, spec in specs.items()))
    return "look"


@pytest.mark.parametrize("command", sorted({reason.look for reason in Reason}))
def test_a_command_that_a_reason_names_runs(kube: Kube, looked_at: str, command: str) -> None:
    arguments = shlex.split(command.replace("NAME", looked_at))[1:]
    elsewhere = "-n" in arguments or "--all-namespaces" in arguments
    (kube.cluster.run if elsewhere else kube.run)(*arguments)


def test_the_server_refuses_a_field_that_is_not_there(kube: Kube) -> None:
    """So that the tests above can fail."""
    spec = LEAST["SDInstance"] | {"colour": "red"}
    broken = {
        "apiVersion": "sdoperator.dev/v1alpha1",
        "kind": "SDInstance",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    with pytest.raises(ClusterError, match="colour"):
        try_on_server(kube, [broken])
