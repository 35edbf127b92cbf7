"""Promises that every chart keeps: it lints, its own tests pass, and markets read the truth about it."""

import json
import re
import subprocess
import tomllib
from typing import Any

import chart_rendering as charts
import pytest
import yaml

ROOT = charts.ROOT
CHARTS = charts.CHARTS
SCENARIOS = charts.scenarios()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MIRROR = "mirror.example.org:5000"
CHINESE = re.compile("[\u4e00-\u9fff]")
# Of docs/helm_annotations.md of artifacthub/hub: another kind, and ArtifactHub leaves the entry out.
CHANGES = {"added", "changed", "deprecated", "removed", "fixed", "security"}
# A chart that makes nothing by itself: with this it does.
SOMETHING = {"sd-models": ("--set", "bundles.sd15.enabled=true")}

by_chart = pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
by_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


def head(chart: charts.Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart / "Chart.yaml").read_text())
    return found


def switches(values: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], bool]:
    """The values that are true or false, by their path."""
    found = {(*path, key): value for key, value in values.items() if isinstance(value, bool)}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= switches(value, (*path, key))
    return found


def test_there_are_charts() -> None:
    assert {chart.name for chart in CHARTS} >= {"sd-operator", "sd-instance", "sd-models", "sd-plugin-basic"}


@by_scenario
def test_helm_lint_has_nothing_to_say(scenario: charts.Scenario) -> None:
    found = subprocess.run(
        [charts.tool("helm"), "lint", "--strict", str(scenario.chart), *scenario.arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "[WARNING]" not in found.stdout


@by_chart
def test_its_own_suites_pass(chart: charts.Path) -> None:
    assert list(chart.glob("tests/*_test.yaml")), "no suites"
    found = subprocess.run(
        [charts.tool("helm-unittest"), "--strict", str(chart)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    passed = re.search(r"^Tests: +(\d+) passed, \1 total$", found.stdout, re.M)
    assert passed is not None, found.stdout
    assert int(passed[1]) > 0


@by_chart
def test_every_switch_that_is_off_is_on_in_a_scenario(chart: charts.Path) -> None:
    """What no scenario switches on, no manifest test sees."""
    off = {
        path for path, on in switches(yaml.safe_load((chart / "values.yaml").read_text())).items() if not on
    }
    tried = [yaml.safe_load(file.read_text()) for file in sorted(chart.glob("ci/*-values.yaml"))]
    on = {path for values in tried for path, value in switches(values).items() if value}
    assert off <= on


@by_chart
def test_the_versions_are_the_projects(chart: charts.Path) -> None:
    assert (head(chart)["version"], head(chart)["appVersion"]) == (VERSION, VERSION)


@by_chart
def test_old_capabilities_are_let_through(chart: charts.Path) -> None:
    """kubebb renders every chart as for Kubernetes 1.20."""
    assert head(chart)["kubeVersion"] == ">=1.20.0-0"
    old, new = (
        # Passwords are drawn anew each time.
        [each for each in charts.manifests(text) if each["kind"] != "Secret"]
        for text in (charts.rendered(chart, "--kube-version", "1.20.0"), charts.rendered(chart))
    )
    assert old == new


@by_chart
def test_markets_find_it_in_english_and_chinese(chart: charts.Path) -> None:
    about = head(chart)
    name = about["annotations"]["core.kubebb.k8s.com.cn/displayname"]
    english, _, chinese = name.partition(" / ")
    assert english.isascii()
    assert CHINESE.search(chinese)
    assert any(CHINESE.search(word) for word in about["keywords"])
    assert any(word.isascii() for word in about["keywords"])
    assert len(set(about["keywords"])) == len(about["keywords"])
    assert about["type"] == "application"
    assert about["maintainers"]
    assert about["icon"].startswith(("data:image/svg+xml;base64,", "https://"))
    assert 20 < len(about["description"]) < 150


@by_chart
def test_artifacthub_reads_the_truth(chart: charts.Path) -> None:
    notes = head(chart)["annotations"]
    assert notes["artifacthub.io/category"] == "ai-machine-learning"
    assert notes["artifacthub.io/license"] == "Apache-2.0"
    for change in yaml.safe_load(notes["artifacthub.io/changes"]):
        assert change["kind"] in CHANGES
        assert change["description"]
    listed = yaml.safe_load(notes.get("artifacthub.io/images", "[]"))
    assert {each["image"] for each in listed} == charts.images(
        charts.manifests(charts.rendered(chart, *SOMETHING.get(chart.name, ())))
    )
    assert len({each["name"] for each in listed}) == len(listed)


def test_artifacthub_is_told_of_every_kind() -> None:
    notes = head(ROOT / "charts/sd-operator")["annotations"]
    ours = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]
    kinds = {(each["spec"]["names"]["kind"], each["metadata"]["name"]) for each in ours}
    told = yaml.safe_load(notes["artifacthub.io/crds"])
    assert {(each["kind"], each["name"]) for each in told} == kinds
    assert {each["version"] for each in told} == {each["spec"]["versions"][0]["name"] for each in ours}
    examples = yaml.safe_load(notes["artifacthub.io/crdsExamples"])
    assert {each["kind"] for each in examples} == {kind for kind, _ in kinds}


@by_scenario
def test_one_value_moves_every_image_to_a_mirror(scenario: charts.Scenario) -> None:
    something = SOMETHING.get(scenario.chart.name, ())
    options = (*scenario.arguments, *something, "--set", f"global.imageRegistry={MIRROR}")
    moved = charts.images(charts.manifests(charts.rendered(scenario.chart, *options)))
    assert moved
    assert all(image.startswith(f"{MIRROR}/") for image in moved), moved


@by_scenario
def test_every_object_says_whose_it_is(scenario: charts.Scenario) -> None:
    about = head(scenario.chart)
    for manifest in charts.of(scenario):
        if manifest["kind"] == "CustomResourceDefinition":
            continue  # of the kinds, not of a release
        labels = manifest["metadata"].get("labels") or {}
        where = f"{manifest['kind']} {manifest['metadata']['name']}"
        assert labels.get("app.kubernetes.io/instance") == "release", where
        assert labels.get("app.kubernetes.io/managed-by") == "Helm", where
        assert labels.get("helm.sh/chart") == f"{about['name']}-{about['version']}", where


@by_chart
def test_a_package_has_what_users_read_and_nothing_of_the_making(
    chart: charts.Path, tmp_path: charts.Path
) -> None:
    subprocess.run(
        [charts.tool("helm"), "package", str(chart), "--destination", str(tmp_path)],
        capture_output=True,
        check=True,
    )
    archive = tmp_path / f"{chart.name}-{VERSION}.tgz"
    listing = subprocess.run(["tar", "-tzf", str(archive)], capture_output=True, text=True, check=True)
    names = {line.removeprefix(f"{chart.name}/") for line in listing.stdout.splitlines()}
    assert {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", "templates/NOTES.txt"} <= names
    assert not {name for name in names if name.startswith(("ci/", "tests/")) or name.endswith(".gotmpl")}


@by_chart
def test_the_schema_in_the_package_is_json(chart: charts.Path) -> None:
    assert json.loads((chart / "values.schema.json").read_text())["additionalProperties"] is False
