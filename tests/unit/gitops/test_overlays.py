"""What kustomize/ says of itself in its comments: how overlays go together, elsewhere, and away again."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack import release
from tests.unit.gitops.gitops_objects import ROOT, environment

KUSTOMIZE = ROOT / "kustomize"
Manifest = dict[str, Any]
Build = Callable[[str], list[Manifest]]


def comments(file: Path) -> str:
    """The words above a file, and the commands in them."""
    return "\n".join(line.removeprefix("#") for line in file.read_text().splitlines() if line.startswith("#"))


def built(folder: Path) -> str:
    return release.output(ROOT, release.output(ROOT, "hack/go-tool", "kustomize"), "build", folder)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """kustomize/, to be changed."""
    shutil.copytree(KUSTOMIZE, tmp_path / "kustomize")
    return tmp_path / "kustomize"


@pytest.mark.parametrize("namespace", ["sd-operator", "team-a"])
@pytest.mark.parametrize("other", ["../monitoring", "../namespaced"])
def test_a_copy_of_private_registry_goes_with_another_overlay(copy: Path, other: str, namespace: str) -> None:
    overlays = copy / "overlays"
    assert other in comments(overlays / "private-registry/kustomization.yaml")
    shutil.copytree(overlays / "private-registry", overlays / "both")
    file = overlays / "both/kustomization.yaml"
    words = file.read_text()
    assert "resources: [../../base]" in words
    file.write_text(words.replace("../../base]", f"{other}]\nnamespace: {namespace}"))
    found = list(yaml.safe_load_all(built(overlays / "both")))
    without = list(yaml.safe_load_all(built(overlays / Path(other).name)))
    assert [each["kind"] for each in found] == [each["kind"] for each in without]
    images = {image for each in found for image in release.images_in(each)}
    assert len(images) == 2 and all(image.startswith("registry.example.org/") for image in images)
    assert environment(found)["SDO_IMAGE_PULL_SECRETS"] == "registry"
    assert {each["metadata"].get("namespace", namespace) for each in found} == {namespace}


def test_alerts_look_for_the_operator_elsewhere_by_the_command_that_is_told(copy: Path) -> None:
    file = copy / "overlays/monitoring/kustomization.yaml"
    (program,) = re.findall(r"sed '(.*?)'", comments(file))
    file.write_text(f"{file.read_text()}namespace: mine\n")
    done = subprocess.run(
        ["sed", program], input=built(file.parent), stdout=subprocess.PIPE, text=True, check=True
    )
    helm = release.output(ROOT, "hack/go-tool", "helm")
    values = ("--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true")
    chart = release.output(ROOT, helm, "template", "sd-operator", "charts/sd-operator", "-n", "mine", *values)

    def watching(text: str) -> dict[str, Manifest]:
        documents = [each for each in yaml.safe_load_all(text) if each]
        return {each["kind"]: each["spec"] for each in documents if "monitoring" in each["apiVersion"]}

    assert watching(done.stdout) == watching(chart)
    assert set(watching(chart)) == {"PrometheusRule", "ServiceMonitor"}


def test_an_operator_of_one_namespace_refuses_the_networks_that_are_filled_in(
    copy: Path, build: Build
) -> None:
    file = copy / "overlays/namespaced/refused-networks.yaml"
    text = file.read_text()
    assert 'value: ""' in text
    file.write_text(text.replace('value: ""', 'value: "10.96.0.0/16,10.244.0.0/16"'))
    before = build("kustomize/overlays/namespaced")
    found = list(yaml.safe_load_all(built(file.parent)))
    wanted = environment(before) | {"SDO_FETCH_REFUSED_NETWORKS": "10.96.0.0/16,10.244.0.0/16"}
    assert environment(found) == wanted
    assert environment(before)["SDO_FETCH_REFUSED_NETWORKS"] == ""


def test_whoever_takes_an_operator_of_one_namespace_is_told_of_its_networks() -> None:
    for file in (KUSTOMIZE / "overlays/namespaced/kustomization.yaml", ROOT / "docs/gitops.md"):
        assert "refused-networks.yaml" in file.read_text()
    assert "SDO_FETCH_REFUSED_NETWORKS" in (ROOT / "docs/gitops.md").read_text()


@pytest.mark.parametrize("page", ["docs/gitops.md", "kustomize/base/kustomization.yaml"])
def test_uninstalling_as_it_is_told_keeps_every_object_of_the_kinds(build: Build, page: str) -> None:
    (told,) = re.findall(r"kubectl delete -f (\S+)$", (ROOT / page).read_text(), re.MULTILINE)
    going = [
        (each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all((ROOT / told).read_text())
    ]
    kinds = {kind for kind, _ in going}
    assert {"Deployment", "ClusterRole", "ClusterRoleBinding"} <= kinds
    assert not kinds & {"CustomResourceDefinition", "Namespace", "Secret"}
    left = [each for each in build("kustomize/base") if (each["kind"], each["metadata"]["name"]) not in going]
    # With the kinds stay the roles by which people see and change them.
    assert {each["kind"] for each in left} == {"Namespace", "CustomResourceDefinition", "ClusterRole"}
    assert {each["metadata"]["name"] for each in left if each["kind"] == "ClusterRole"} == {
        f"sdoperator-{role}" for role in ("view", "edit", "admin")
    }
