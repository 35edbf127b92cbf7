"""What the examples for Argo CD and Flux point at is there, at this version, and is pruned as they say."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from hack import release
from tests.unit.gitops import gitops_objects as examples

ROOT = examples.ROOT
VERSION = release.version_of(ROOT)
APPLICATIONS = examples.of_kind("Application")
#: What each Application, and each of Flux's Kustomizations, brings from the repository.
BRINGS = {
    "sd": {"Application"},
    "sd-operator-crds": {"CustomResourceDefinition", "ClusterRole"},
    "studio": {"ModelBundle", "SDInstance", "HorizontalPodAutoscaler"},
}
FLUX_BRINGS = {
    "sd-operator": {"Namespace", "OCIRepository", "HelmRelease"},
    "studio-models": {"ModelBundle"},
    "studio": {"SDInstance", "HorizontalPodAutoscaler"},
}
Build = Callable[[str], list[examples.Manifest]]


def in_git() -> dict[str, Any]:
    return {name: spec["source"] for name, spec in APPLICATIONS.items() if "chart" not in spec["source"]}


def of_charts() -> dict[str, Any]:
    return {name: spec["source"] for name, spec in APPLICATIONS.items() if "chart" in spec["source"]}


def test_the_applications_are_these() -> None:
    assert set(in_git()) == set(BRINGS)
    assert set(of_charts()) == {"sd-operator"}
    assert set(examples.of_kind("Kustomization")) == set(FLUX_BRINGS)


@pytest.mark.parametrize("name", BRINGS)
def test_an_application_finds_its_folder_in_this_version(build: Build, name: str) -> None:
    source = in_git()[name]
    assert source["targetRevision"] == f"v{VERSION}"
    folder = ROOT / source["path"]
    # Argo CD looks for a kustomization too, and takes a folder without one file by file.
    if (folder / "kustomization.yaml").exists():
        found = build(source["path"])
    else:
        found = [yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")]
    assert {each["kind"] for each in found} == BRINGS[name]


@pytest.mark.parametrize("name", FLUX_BRINGS)
def test_flux_finds_its_folder_in_this_version(build: Build, name: str) -> None:
    spec = examples.of_kind("Kustomization")[name]
    assert {each["kind"] for each in build(spec["path"].removeprefix("./"))} == FLUX_BRINGS[name]
    assert examples.of_kind(spec["sourceRef"]["kind"])[spec["sourceRef"]["name"]]["ref"] == {
        "tag": f"v{VERSION}"
    }


def test_both_take_the_same_repository_and_the_same_charts() -> None:
    (repository,) = examples.of_kind("GitRepository").values()
    assert {source["repoURL"] for source in in_git().values()} == {repository["url"]}
    (flux,) = examples.of_kind("OCIRepository").values()
    # Argo CD tells a registry from an index of charts by the missing scheme.
    assert [f"oci://{each['repoURL']}/{each['chart']}" for each in of_charts().values()] == [flux["url"]]


def test_a_chart_that_is_asked_for_is_one_of_this_version() -> None:
    (flux,) = examples.of_kind("OCIRepository").values()
    charts = {chart.name for chart in release.charts(ROOT)}
    assert {flux["url"].rpartition("/")[2], *(each["chart"] for each in of_charts().values())} <= charts
    assert flux["ref"] == {"tag": VERSION}
    assert {each["targetRevision"] for each in of_charts().values()} == {VERSION}


def test_the_patches_that_come_by_themselves_are_of_this_version() -> None:
    said = (examples.GITOPS / "flux/operator/chart.yaml").read_text()
    assert f"`semver: {'.'.join(VERSION.split('.')[:2])}.x`" in said


def test_flux_hands_the_archive_of_the_chart_on_as_it_is() -> None:
    """Extracted, it is no archive, which is what the HelmRelease looks for."""
    ((name, source),) = examples.of_kind("OCIRepository").items()
    assert source["layerSelector"] == {
        "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "operation": "copy",
    }
    ((_, helm),) = examples.of_kind("HelmRelease").items()
    assert helm["chartRef"] == {"kind": "OCIRepository", "name": name}


def test_no_pruning_takes_the_definitions() -> None:
    (found,) = [each for _, each in examples.documents() if each["metadata"]["name"] == "sd-operator-crds"]
    assert found["spec"]["syncPolicy"]["automated"] == {"prune": False, "selfHeal": True}
    # With one, what the Application brought goes with it.
    assert "finalizers" not in found["metadata"]
    assert APPLICATIONS["sd-operator"]["source"]["helm"]["valuesObject"]["crds"] == {"install": False}
    assert examples.of_kind("HelmRelease")["sd-operator"]["values"]["crds"] == {"install": True, "keep": True}


@pytest.mark.parametrize("name", sorted({*APPLICATIONS} - {"sd-operator-crds"}))
def test_what_leaves_git_leaves_the_cluster(name: str) -> None:
    assert APPLICATIONS[name]["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}


def test_argo_cd_leaves_the_replicas_to_the_autoscaler() -> None:
    crd = yaml.safe_load((ROOT / "crds/sdoperator.dev_sdinstances.yaml").read_text())["spec"]
    (version,) = crd["versions"]
    pointer = version["subresources"]["scale"]["specReplicasPath"].replace(".", "/")
    studio = APPLICATIONS["studio"]
    assert studio["ignoreDifferences"] == [
        {"group": crd["group"], "kind": crd["names"]["kind"], "jsonPointers": [pointer]}
    ]
    # Otherwise it is only not shown, and written all the same.
    assert "RespectIgnoreDifferences=true" in studio["syncPolicy"]["syncOptions"]


@pytest.mark.parametrize("name", sorted({*APPLICATIONS} - {"sd"}))
def test_argo_cd_applies_on_the_servers_side(name: str) -> None:
    """The definitions are too large for the annotation that it keeps otherwise."""
    assert "ServerSideApply=true" in APPLICATIONS[name]["syncPolicy"]["syncOptions"]
