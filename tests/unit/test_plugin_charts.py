"""Charts of plugins: one shape for all, in step with the images that they install."""

import base64
import json
import pathlib
import re
from typing import Any

import pytest
import yaml

from sd_operator import names
from sd_operator.api import crds

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHARTS = sorted((ROOT / "charts").glob("sd-plugin-*"))
NAMES = ("aux", "basic", "openpose", "upscale")


def values(chart: pathlib.Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return found


def test_every_plugin_has_a_chart() -> None:
    assert [chart.name for chart in CHARTS] == [f"sd-plugin-{name}" for name in NAMES]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_templates_are_the_same_bytes_in_every_chart(chart: pathlib.Path) -> None:
    def templates(folder: pathlib.Path) -> dict[str, str]:
        return {path.name: path.read_text() for path in (folder / "templates").iterdir()}

    assert templates(chart) == templates(CHARTS[0])


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_names_that_yaml_takes_for_something_else_stay_names(chart: pathlib.Path) -> None:
    """Where a value is all there is of a scalar, as "123" or "null", it is quoted."""
    for path in (chart / "templates").iterdir():
        for line in path.read_text().splitlines():
            whole = re.findall(
                r": (\{\{-? (?:\.Values\.name|\.Release\.\w+|include \S+image\S+ \.)[^}]*\}\})(?=[,}]|$)",
                line,
            )
            assert all("| quote }}" in each or "Release.Service" in each for each in whole), line


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_unit_tests_are_the_same_bytes_in_every_chart(chart: pathlib.Path) -> None:
    (own,) = (chart / "tests").glob("*_test.yaml")
    assert own.read_text() == (CHARTS[0] / "tests" / own.name).read_text()


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_every_value_is_in_the_readme_and_the_schema(chart: pathlib.Path) -> None:
    readme = (chart / "README.md").read_text()
    schema = json.loads((chart / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    # Besides them a condition, which has no default.
    assert set(schema["properties"]) == {*values(chart), "enabled"}
    for key in values(chart):
        assert f"| `{key}" in readme, key


def asked(node: dict[str, Any]) -> dict[str, Any]:
    """What JSON schema asks of a value, told alike by a chart and by the CRD."""
    return {key: node[key] for key in ("enum", "maxItems", "maxLength", "pattern") if key in node}


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_schema_takes_what_an_sdplugin_takes(chart: pathlib.Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())["properties"]
    crd = crds.definitions()["sdoperator.dev_sdplugins.yaml"]
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert schema["name"]["pattern"] == names.PLUGIN_PATTERN
    image = schema["image"]["properties"]
    # Of the characters that an SDPlugin's image may have, all parts take a few only.
    for part in (*image.values(), schema["global"]["properties"]["imageRegistry"]):
        for text in ("a b", "a\tb", "\u00e4", "a\x7f"):
            assert not re.search(spec["image"]["pattern"], text)
            assert not re.search(part["pattern"], text)
    for kind in {"modules", "models"} & set(schema):
        own, crds_own = schema[kind], spec[kind]
        assert asked(own) == asked(crds_own)
        assert own["items"]["additionalProperties"] is False
        fields, crds_fields = own["items"]["properties"], crds_own["items"]["properties"]
        assert set(fields) == set(crds_fields)
        for name, field in fields.items():
            assert asked(field) == asked(crds_fields[name])
            if "items" in field:
                assert asked(field["items"]) == asked(crds_fields[name]["items"])


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_image_is_a_target_that_has_and_serves_one_plugin(chart: pathlib.Path) -> None:
    target = values(chart)["image"]["repository"].removeprefix("sd-operator/")
    recipe = (ROOT / "images" / "plugin" / "Containerfile").read_text()
    stage = re.search(rf" AS {target}\n(.*?)(?=\nFROM |\Z)", recipe, re.S)
    assert stage is not None
    (served,) = re.findall(r'"serve", "(\w+)"\]', stage[1])
    assert re.findall(r"COPY runtime/sd_plugin/plugins/(\w+) ", stage[1]) == [served]
    shared = {path.parent.name for path in (ROOT / "runtime" / "sd_plugin").glob("*/__init__.py")} - {
        "plugins"
    }
    assert set(re.findall(r"COPY runtime/sd_plugin/(\w+) ", stage[1])) == shared
    assert f'title="sd-operator: {values(chart)["name"]}"' in stage[1]
    assert "USER 10001:10001" in stage[1]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_it_has_the_version_of_the_operators_chart(chart: pathlib.Path) -> None:
    own, operators = (
        yaml.safe_load((folder / "Chart.yaml").read_text())
        for folder in (chart, chart.parent / "sd-operator")
    )
    assert (own["version"], own["appVersion"]) == (operators["version"], operators["appVersion"])
    assert own["annotations"]["sdoperator.dev/kind"] in ("Preprocessor", "Upscaler")


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_its_marks_for_marketplaces_are_true(chart: pathlib.Path) -> None:
    said = yaml.safe_load((chart / "Chart.yaml").read_text())
    image = values(chart)["image"]
    images = yaml.safe_load(said["annotations"]["artifacthub.io/images"])
    expected = f"{image['registry']}/{image['repository']}:{said['appVersion']}"
    assert [each["image"] for each in images] == [expected]
    assert base64.b64decode(said["icon"].rpartition(",")[2]) == (ROOT / "docs/images/icon.svg").read_bytes()
    english, _, chinese = said["annotations"]["core.kubebb.k8s.com.cn/displayname"].partition(" / ")
    assert english.isascii()
    assert not chinese.isascii()
