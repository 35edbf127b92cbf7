"""Every manifest that people are given is taken, field by field, by each supported version of Kubernetes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chart_rendering as charts
import pytest
import strict_schemas
import yaml

ROOT = charts.ROOT
VERSIONS = strict_schemas.versions()
OPTIONS = ("-strict", "-summary", "-output", "json", "-n", "2")


def files() -> Iterator[Path]:
    """What is applied as it lies in the repository, and what the operator makes."""
    yield from sorted((ROOT / "examples").glob("*.yaml"))
    yield from sorted((ROOT / "examples/plugin").glob("*.yaml"))
    yield from sorted((ROOT / "tests/unit/operator/golden").glob("*.yaml"))


def kustomized() -> Iterator[tuple[str, str]]:
    """The base and each overlay, built."""
    for file in sorted(ROOT.glob("kustomize/**/kustomization.yaml")):
        found = subprocess.run(
            [charts.tool("kustomize"), "build", str(file.parent)], capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr
        yield "-".join(file.parent.relative_to(ROOT).parts), found.stdout


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all manifests, each file named after where they are from."""
    folder = tmp_path_factory.mktemp("manifests")
    for scenario in charts.scenarios():
        (folder / f"{scenario.name}.yaml").write_text(charts.rendered(scenario.chart, *scenario.arguments))
    for file in files():
        (folder / f"{file.parent.name}-{file.name}").write_text(file.read_text())
    for name, text in kustomized():
        (folder / f"{name}.yaml").write_text(text)
    return folder


KINDS = ("Deployment", "Secret", "SDInstance", "ServiceMonitor")


@pytest.fixture(scope="session", params=VERSIONS)
def kinds(request: pytest.FixtureRequest) -> strict_schemas.Kinds:
    return strict_schemas.Kinds(request.param, strict_schemas.custom_definitions())


def judged(kinds: strict_schemas.Kinds, manifests: Path, schemas: Path) -> tuple[int, list[str]]:
    """How many objects are right, and what is wrong with the others."""
    text = [file.read_text() for file in sorted(manifests.glob("*.yaml"))]
    present = {
        (each["apiVersion"], each["kind"])
        for part in text
        for each in yaml.load_all(part, Loader=yaml.CSafeLoader)
        if each
    }
    where = kinds.write(sorted(present), schemas)
    found = subprocess.run(
        (charts.tool("kubeconform"), *OPTIONS, "-schema-location", where, str(manifests)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout, found.stderr
    said: dict[str, Any] = json.loads(found.stdout)
    wrong = [
        f"{Path(each['filename']).name}: {each['kind']} {each['name']}: {each['msg']}"
        for each in said.get("resources") or []
    ]
    summary = said["summary"]
    assert summary["skipped"] == 0
    assert len(wrong) == summary["invalid"] + summary["errors"]
    return summary["valid"], wrong


def test_every_manifest_is_taken(kinds: strict_schemas.Kinds, everything: Path, tmp_path: Path) -> None:
    right, wrong = judged(kinds, everything, tmp_path / "schemas")
    assert wrong == []
    assert right > 100


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web
        resources: {requests: {cpu: 1, memory: 1.5Gi}}
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\ndata: {key: c2VjcmV0}\n"
INSTANCE = "\n".join((ROOT / "examples/sd15.yaml").read_text().split("---")[-1:])
MONITOR = """
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: web}
spec: {selector: {}, endpoints: [{port: web, interval: 30s}]}
"""


def alone(manifest: str, folder: Path) -> Path:
    (folder / "manifests").mkdir()
    (folder / "manifests" / "it.yaml").write_text(manifest)
    return folder / "manifests"


@pytest.mark.parametrize("manifest", [DEPLOYMENT, SECRET, INSTANCE, MONITOR], ids=KINDS)
def test_what_is_right_passes(kinds: strict_schemas.Kinds, manifest: str, tmp_path: Path) -> None:
    assert judged(kinds, alone(manifest, tmp_path), tmp_path / "schemas") == (1, [])


@pytest.mark.parametrize(
    ("manifest", "right", "wrong", "says"),
    [
        (DEPLOYMENT, "image: web", "imagee: web", "imagee"),
        (DEPLOYMENT, "        image: web", "        image: web\n        image: web", "image"),
        (DEPLOYMENT, "maxSurge: 25%", "maxSurge: {a: b}", "maxSurge"),
        (DEPLOYMENT, "1.5Gi", "1.5Gib", "memory"),
        (DEPLOYMENT, "      - name: web\n        image", "      - image", "name"),
        (DEPLOYMENT, "app: web}}\n    spec", "app: 1}}\n    spec", "app"),
        (DEPLOYMENT, "metadata: {name: web}", "metadata: {name: web, label: {a: b}}", "label"),
        (DEPLOYMENT, "apps/v1", "extensions/v1beta1", "could not find schema"),
        (DEPLOYMENT, "kind: Deployment", "kind: Deploymnt", "could not find schema"),
        (SECRET, "c2VjcmV0", "secret!", "key"),
        (INSTANCE, "spec:", "spec:\n  replica: 1", "replica"),
        (INSTANCE, "metadata: {name", "metadata: {nam: x, name", "nam"),
        (MONITOR, "interval: 30s", "interval: 30", "interval"),
        (MONITOR, "monitoring.coreos.com/v1", "monitoring.coreos.com/v2", "could not find schema"),
    ],
)
def test_what_is_wrong_is_found(
    kinds: strict_schemas.Kinds, manifest: str, right: str, wrong: str, says: str, tmp_path: Path
) -> None:
    assert right in manifest
    changed = alone(manifest.replace(right, wrong, 1), tmp_path)
    valid, found = judged(kinds, changed, tmp_path / "schemas")
    assert valid == 0
    assert len(found) == 1
    assert says in found[0]


# API that came or went between the versions: (apiVersion, kind, in the oldest, in the newest).
COMING_AND_GOING = (
    ("storage.k8s.io/v1beta1", "VolumeAttributesClass", True, False),
    ("storage.k8s.io/v1", "VolumeAttributesClass", True, True),
    ("storagemigration.k8s.io/v1", "StorageVersionMigration", False, True),
)


@pytest.mark.parametrize(("api_version", "kind", "oldest", "newest"), COMING_AND_GOING)
def test_an_api_that_a_version_lacks_is_refused_there(
    api_version: str, kind: str, oldest: bool, newest: bool
) -> None:
    for version, there in ((VERSIONS[0], oldest), (VERSIONS[-1], newest)):
        found = strict_schemas.Kinds(version, ()).schema(api_version, kind)
        assert (found is not None) is there, version
