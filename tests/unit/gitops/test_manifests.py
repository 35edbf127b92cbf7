"""kustomize/ and examples/gitops build, are the chart's, fit their readers' schemas, and are in order."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hack import manifests, release
from tests.unit.gitops.gitops_objects import GITOPS, ROOT, documents, environment

#: Who reads our objects, and where its own definitions of them are.
READERS = {
    "Application": ("github.com/argoproj/argo-cd/v3@v3.5.7", "manifests/crds/application-crd.yaml"),
    "GitRepository": (
        "github.com/fluxcd/source-controller@v1.9.6",
        "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    ),
    "OCIRepository": (
        "github.com/fluxcd/source-controller@v1.9.6",
        "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml",
    ),
    "Kustomization": (
        "github.com/fluxcd/kustomize-controller@v1.9.6",
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
}
OVERLAYS = ("base", "overlays/namespaced", "overlays/private-registry", "overlays/monitoring")

Manifest = dict[str, Any]
Build = Callable[[str], list[Manifest]]


def closed(schema: Any) -> Any:
    """A definition's schema that also refuses fields that it does not name: they would be dropped."""
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for key, value in schema.items():
            # What stands below these adds to the rules of the place, and names some of its fields only.
            if key not in ("oneOf", "anyOf", "allOf", "not"):
                closed(value)
    return schema


@pytest.fixture(scope="session")
def schemas() -> dict[str, Manifest]:
    found = {}
    for kind, (module, path) in READERS.items():
        crd = yaml.safe_load((Path(release.output(ROOT, "hack/go-module", module)) / path).read_text())
        for version in crd["spec"]["versions"]:
            schema = closed(copy.deepcopy(version["schema"]["openAPIV3Schema"]))
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{crd['spec']['group']}/{version['name']} {kind}"] = schema
    return found


def test_argo_cd_and_flux_know_every_field(schemas: dict[str, Manifest], judge: Any) -> None:
    seen = set()
    for path, each in documents():
        seen.add(each["kind"])
        if each["kind"] == "HelmRelease":
            # Its definition is in no Go module, its types are.
            judge("helmrelease", objects=[each])
            continue
        validator = jsonschema.Draft7Validator(schemas[f"{each['apiVersion']} {each['kind']}"])
        assert not [f"{path.name}: {e.json_path}: {e.message}" for e in validator.iter_errors(each)]
    assert seen == {*READERS, "HelmRelease"}


def test_a_field_that_argo_cd_does_not_know_is_found(schemas: dict[str, Manifest]) -> None:
    application = yaml.safe_load((GITOPS / "argocd/apps/operator.yaml").read_text())
    application["spec"]["syncPolicy"]["automatic"] = {}
    validator = jsonschema.Draft7Validator(schemas["argoproj.io/v1alpha1 Application"])
    assert "automatic" in str([error.message for error in validator.iter_errors(application)])


def test_a_field_that_flux_does_not_know_is_found(judge: Any) -> None:
    (release_,) = [each for _, each in documents() if each["kind"] == "HelmRelease"]
    release_["spec"]["chartReference"] = {}
    with pytest.raises(AssertionError, match="chartReference"):
        judge("helmrelease", objects=[release_])


def test_what_is_generated_is_what_the_chart_renders_to() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hack.manifests", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", OVERLAYS)
def test_nothing_says_that_helm_manages_it(build: Build, folder: str) -> None:
    for each in build(f"kustomize/{folder}"):
        for holder in (each, (each.get("spec") or {}).get("template") or {}):
            metadata = holder.get("metadata") or {}
            marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
            assert not [key for key in marks if "helm" in key or key == "app.kubernetes.io/managed-by"]


def test_the_chart_may_not_render_a_secret() -> None:
    with pytest.raises(manifests.ManifestError, match="Secret"):
        manifests.strip({"kind": "Secret", "metadata": {"name": "x"}})


def test_the_base_begins_with_its_namespace_and_the_kinds(build: Build) -> None:
    found = build("kustomize/base")
    assert [each["kind"] for each in found[:4]] == ["Namespace", *["CustomResourceDefinition"] * 3]
    assert found[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    namespaces = {each["metadata"].get("namespace") for each in found}
    assert namespaces == {None, "sd-operator"}


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str], list[Manifest]]:
    """What a kustomization of somebody else's makes of a folder, with the namespace team-a."""

    def objects(folder: str) -> list[Manifest]:
        resource = os.path.relpath(ROOT / "kustomize" / folder, tmp_path)
        outer = {"namespace": "team-a", "resources": [resource]}
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(outer))
        kustomize = release.output(ROOT, "hack/go-tool", "kustomize")
        return list(yaml.safe_load_all(release.output(ROOT, kustomize, "build", tmp_path)))

    return objects


OWN_NAMESPACE = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}


@pytest.mark.parametrize("folder", OVERLAYS)
def test_an_operator_that_is_put_elsewhere_is_told_of_its_own_namespace(put: Build, folder: str) -> None:
    found = put(folder)
    assert {each["metadata"].get("namespace", "team-a") for each in found} == {"team-a"}
    subjects = [subject for each in found for subject in each.get("subjects", [])]
    assert subjects and {each["namespace"] for each in subjects} == {"team-a"}
    told = environment(found)
    assert told["SDO_CATALOG_NAMESPACE"] == told["SDO_NAMESPACE"] == OWN_NAMESPACE
    assert told["SDO_WATCH_NAMESPACE"] == (OWN_NAMESPACE if folder == "overlays/namespaced" else "")
    assert "sd-operator" not in told.values()


def test_an_operator_of_one_namespace_has_nothing_of_the_cluster(put: Build) -> None:
    assert {each["metadata"].get("namespace") for each in put("overlays/namespaced")} == {"team-a"}


def test_a_private_registry_has_every_image(build: Build) -> None:
    found = {
        image for each in build("kustomize/overlays/private-registry") for image in release.images_in(each)
    }
    assert len(found) == 2
    assert all(image.startswith("registry.example.org/sd-operator/") for image in found)


def test_a_private_registry_is_asked_with_a_secret(build: Build) -> None:
    """By the kubelet for the operator's own pod, and for those that the operator starts."""
    found = build("kustomize/overlays/private-registry")
    (operator,) = [each for each in found if each["kind"] == "Deployment"]
    assert operator["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert environment(found)["SDO_IMAGE_PULL_SECRETS"] == "registry"
    (base,) = [each for each in build("kustomize/base") if each["kind"] == "Deployment"]
    assert set(environment(found)) == set(environment([base]))


def test_monitoring_adds_to_the_base_and_changes_nothing(build: Build) -> None:
    base, found = build("kustomize/base"), build("kustomize/overlays/monitoring")
    assert [each for each in found if each in base] == base
    added = sorted(each["kind"] for each in found if each not in base)
    assert added == ["ConfigMap", "PrometheusRule", "ServiceMonitor"]


def test_argo_cd_goes_from_the_kinds_to_the_service(build: Build) -> None:
    apps = [yaml.safe_load(path.read_text()) for path in (GITOPS / "argocd/apps").glob("*.yaml")]

    def order(objects: list[Manifest]) -> list[str]:
        wave = "argocd.argoproj.io/sync-wave"
        return [
            each["metadata"]["name"] if each["kind"] == "Application" else each["kind"]
            for each in sorted(objects, key=lambda each: int(each["metadata"]["annotations"][wave]))
        ]

    assert order(apps) == ["sd-operator-crds", "sd-operator", "studio"]
    assert order(build("examples/gitops/studio")) == ["ModelBundle", "SDInstance", "HorizontalPodAutoscaler"]


def test_no_pruning_takes_a_bundle(build: Build) -> None:
    (bundle,) = [each for each in build("examples/gitops/studio") if each["kind"] == "ModelBundle"]
    marks = bundle["metadata"]["annotations"]
    assert {"Prune=false", "Delete=false"} <= set(marks["argocd.argoproj.io/sync-options"].split(","))
    assert marks["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
    assert bundle["spec"]["storage"]["reclaimPolicy"] == "Retain"


def test_flux_goes_from_the_operator_to_the_service(build: Build) -> None:
    found = {
        each["metadata"]["name"]: each["spec"] for _, each in documents() if each["kind"] == "Kustomization"
    }
    waits = {name: [other["name"] for other in spec.get("dependsOn", [])] for name, spec in found.items()}
    assert waits == {"sd-operator": [], "studio-models": ["sd-operator"], "studio": ["studio-models"]}
    for spec in found.values():
        kinds = {each["kind"] for each in build(spec["path"].removeprefix("./"))}
        ours = kinds & {"SDInstance", "ModelBundle"}
        assert {check["kind"] for check in spec.get("healthCheckExprs", [])} == ours
        assert spec["wait"] and spec["prune"]


def test_the_chart_takes_the_values(tmp_path: Path) -> None:
    helm = release.output(ROOT, "hack/go-tool", "helm")
    for _, each in documents():
        spec = each["spec"]
        values = spec.get("values") or spec.get("source", {}).get("helm", {}).get("valuesObject")
        if values is not None:
            (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
            release.output(ROOT, helm, "template", "x", "charts/sd-operator", "-f", tmp_path / "values.yaml")
