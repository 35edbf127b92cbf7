"""The examples for a marketplace in kubebb's style: fields of its API, and values of the charts."""

import json
import re
from pathlib import Path

import jsonschema
import kubebb_render
import pytest
import yaml
from kubebb_render import CHARTS, EXAMPLES, ROOT, Object, chart_yaml

API = json.loads((Path(__file__).parent / "kubebb_api.json").read_text())
each_chart = pytest.mark.parametrize("chart", CHARTS)


def example(path: Path) -> Object:
    found: Object = yaml.safe_load(path.read_text())
    return found


def checker(resource: Object) -> jsonschema.Draft7Validator:
    """By the resource's kind."""
    definitions = API["definitions"]
    return jsonschema.Draft7Validator(definitions[resource["kind"]] | {"definitions": definitions})


WRITTEN = [*sorted(EXAMPLES.glob("*.yaml")), *sorted(EXAMPLES.glob("*/*.yaml"))]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_it_has_the_fields_of_kubebbs_api(path: Path) -> None:
    wrong = [
        f"{error.json_path}: {error.message}" for error in checker(example(path)).iter_errors(example(path))
    ]
    assert not wrong


@pytest.mark.parametrize("page", ["docs/kubebb.md", "docs/zh/kubebb.md"])
def test_so_has_what_the_guide_shows(page: str) -> None:
    text = (ROOT / page).read_text()
    shown = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
    objects = [yaml.safe_load(block) for block in shown if "apiVersion: core.kubebb" in block]
    assert objects
    for resource in objects:
        assert not list(checker(resource).iter_errors(resource))


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("repository.yaml", "pullStrategy", {}),
        ("sd-operator/componentplan.yaml", "releaseName", "x"),
        ("sd-operator/componentplan.yaml", "component", {"name": "marketplace.sd-operator"}),
        ("sd-operator/subscription.yaml", "schedule", "0 3 * * 0"),
    ],
)
def test_the_table_of_the_api_refuses_what_kubebb_does_not_know(path: str, field: str, value: object) -> None:
    wrong = example(EXAMPLES / path)
    wrong["spec"][field] = value
    assert checker(wrong).is_valid(example(EXAMPLES / path))
    assert not checker(wrong).is_valid(wrong)


def test_each_chart_has_a_plan_and_a_subscription() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert folders == CHARTS
    for chart in CHARTS:
        files = sorted(path.name for path in (EXAMPLES / chart).iterdir())
        assert files == ["componentplan.yaml", "subscription.yaml"]
        assert f"{chart}/componentplan.yaml" in readme


@each_chart
def test_both_install_the_chart_from_the_repository_as_the_same_release(chart: str) -> None:
    plan, subscription = (
        example(EXAMPLES / chart / name) for name in ("componentplan.yaml", "subscription.yaml")
    )
    repository = example(EXAMPLES / "repository.yaml")["metadata"]
    component = {"namespace": repository["namespace"], "name": f"{repository['name']}.{chart}"}
    assert plan["spec"].pop("component") == subscription["spec"].pop("component") == component
    assert subscription["spec"].pop("repository") == repository
    assert plan["spec"].pop("version") == chart_yaml(chart)["version"]
    assert plan["metadata"] == subscription["metadata"]
    for key in ("approved", "schedule", "componentPlanInstallMethod"):
        plan["spec"].pop(key, None)
        subscription["spec"].pop(key, None)
    assert plan["spec"] == subscription["spec"]


@each_chart
def test_the_values_of_a_plan_are_the_charts_own(chart: str) -> None:
    """The chart's schema is closed: Helm itself refuses others."""
    assert kubebb_render.documents(kubebb_render.example(chart)["manifest"])


def test_plans_ask_for_what_other_plans_bring() -> None:
    def objects(chart: str) -> list[Object]:
        return kubebb_render.documents(kubebb_render.example(chart)["manifest"])

    bundles = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in objects("sd-models")}
    (instance,) = (each for each in objects("sd-instance") if each["kind"] == "SDInstance")
    wanted = {(instance["metadata"]["namespace"], each["name"]) for each in instance["spec"]["models"]}
    assert wanted <= bundles
