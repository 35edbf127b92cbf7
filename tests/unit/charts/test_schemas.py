"""Schemas of charts' values: what the generator makes of a values.yaml, and what the charts' own refuse."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from chart_rendering import CHARTS, ROOT, Scenario, manifests, rendered, scenarios, tool

from hack import chart_schema

by_chart = pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)


def made(text: str) -> dict[str, Any]:
    """The properties of the schema of a values.yaml."""
    found: dict[str, Any] = chart_schema.schema(text)["properties"]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# -- D.\na: x\n", {"description": "D.", "type": "string"}),
        ("# -- D.\na: true\n", {"description": "D.", "type": "boolean"}),
        ("# -- D.\na: 1\n", {"description": "D.", "type": "integer"}),
        ("# -- D.\na: 0.5\n", {"description": "D.", "type": "number"}),
        ('# -- D.\na: "1"\n', {"description": "D.", "type": "string"}),
        ("# -- One\n# two.\n#\n# Three.\na: x\n", {"description": "One two. Three.", "type": "string"}),
        ("# An example.\n# -- D.\na: x\n", {"description": "D.", "type": "string"}),
        ("# -- D.\n# @default -- long\na: x\n", {"description": "D.", "type": "string"}),
        (
            "# @schema {maxLength: 3}\n# -- D.\na: x\n",
            {"description": "D.", "type": "string", "maxLength": 3},
        ),
        (
            "# @schema {type: [string, 'null']}\n# -- D.\na:\n",
            {"description": "D.", "type": ["string", "null"]},
        ),
        ("# @schema {enum: [x, y]}\n# -- D.\na: x\n", {"description": "D.", "enum": ["x", "y"]}),
        (
            "# @schema {items: {type: string}}\n# -- D.\na: []\n",
            {"description": "D.", "type": "array", "items": {"type": "string"}},
        ),
        (
            "# @schema {additionalProperties: {type: integer}}\n# -- D.\na: {b: 1}\n",
            {"description": "D.", "type": "object", "additionalProperties": {"type": "integer"}},
        ),
        (
            "# @schema {k8s: nodeSelector}\n# -- D.\na: {}\n",
            {"description": "D.", "type": "object", "additionalProperties": {"type": "string"}},
        ),
        (
            "a:\n  # -- D.\n  b: x\n",
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"b": {"description": "D.", "type": "string"}},
                "required": ["b"],
            },
        ),
        (
            "# -- D.\na: {b: {c: 1}}\n",
            {
                "description": "D.",
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "b": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"c": {"type": "integer"}},
                        "required": ["c"],
                    }
                },
                "required": ["b"],
            },
        ),
        (
            "# @schema {image: tag}\n# -- D.\na: ''\n",
            {"description": "D.", **chart_schema.IMAGE["tag"]},
        ),
        (
            "# @schema {image: repository, minLength: 1}\n# -- D.\na: x\n",
            {"description": "D.", **chart_schema.IMAGE["repository"], "minLength": 1},
        ),
        (
            "# @schema {web: endpoint, minLength: 1}\n# -- D.\na: https://x\n",
            {"description": "D.", **chart_schema.WEB["endpoint"], "minLength": 1},
        ),
    ],
)
def test_a_value_becomes_a_schema(text: str, expected: dict[str, Any]) -> None:
    assert made(text)["a"] == expected


def test_a_part_of_our_kinds_is_put_in_place() -> None:
    found = made("# @schema {crd: sdinstances.spec.imagePullSecrets}\n# -- Ours.\na: []\n")["a"]
    assert found["description"] == "Ours."
    assert found["items"]["additionalProperties"] is False
    assert "x-kubernetes-list-type" not in found
    jsonschema.validate([{"name": "x"}], found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"nam": "x"}], found)


def test_quantities_of_our_kinds_may_be_numbers() -> None:
    found = made("# @schema {crd: sdplugins.spec.resources}\n# -- D.\na: {}\n")["a"]
    for right in ("1Gi", 5):
        jsonschema.validate({"limits": {"memory": right}}, found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"limits": {"memory": "much"}}, found)


def test_a_shape_may_be_part_of_a_schema() -> None:
    text = "# @schema {items: {properties: {spec: {crd: sdplugins.spec.resources}}}}\n# -- D.\na: []\n"
    found = made(text)["a"]
    jsonschema.validate([{"spec": {"limits": {"cpu": 1}}}], found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"spec": {"limit": {"cpu": 1}}}], found)


def test_a_value_must_be_there_unless_its_default_is_null() -> None:
    """Helm takes a value that is set to null out of the values, so that only `required` refuses it."""
    text = "# -- D.\na: x\n# @schema {type: [string, 'null']}\n# -- D.\nb:\n# -- D.\nc: {d: 1}\n"
    found = chart_schema.schema(text)
    assert found["required"] == ["a", "c"]
    judge = jsonschema.Draft7Validator(found)
    assert judge.is_valid({"a": "y", "c": {"d": 2}})
    assert not judge.is_valid({"a": "y", "c": {}})


def test_a_schema_of_nothing_but_nulls_requires_nothing() -> None:
    assert "required" not in chart_schema.schema("# @schema {type: [string, 'null']}\n# -- D.\na:\n")


@pytest.mark.parametrize("said", ["{}", "{type: string}", "{enum: [x]}"])
def test_a_default_of_null_has_a_schema_that_takes_null(said: str) -> None:
    with pytest.raises(chart_schema.Mistake, match=r"line 3: a: '' tells no type: .* null"):
        chart_schema.schema(f"# @schema {said}\n# -- D.\na:\n")


def test_what_is_global_may_hold_other_charts_values() -> None:
    found = made("global:\n  # -- D.\n  imageRegistry: ''\n")["global"]
    jsonschema.validate({"imageRegistry": "x", "storageClass": "y"}, found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"imageRegistry": 1}, found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: x\n", "line 1: a: no description"),
        ("a:\n  b: x\n", "line 2: a.b: no description"),
        ("# -- D.\na: {}\n", "line 2: a: {} tells no type"),
        ("# -- D.\na: []\n", "line 2: a: an @schema with `items` is needed"),
        ("# -- D.\na:\n", "line 2: a: '' tells no type"),
        ("# @schema {maxlength: 3}\n# -- D.\na: x\n", "line 3: a: @schema has no maxlength"),
        ("# @schema {items: {typ: string}}\n# -- D.\na: []\n", "line 3: a: @schema has no typ"),
        ("# @schema [x]\n# -- D.\na: x\n", "a mapping in one line is wanted"),
        ("# @schema {x\n# -- D.\na: x\n", "line 3: a: @schema {x:"),
        ("# -- D.\n# @schema {maxLength: 3}\na: x\n", "in this order"),
        (
            "# @schema {image: name}\n# -- D.\na: x\n",
            "line 3: a: image: name: one of registry, repository, tag",
        ),
        ("# @schema {k8s: pods}\n# -- D.\na: {}\n", "line 3: a: k8s: pods: one of labels, annotations"),
        ("# @schema {gpu: card}\n# -- D.\na: x\n", "line 3: a: gpu: card: one of memory, profile"),
        (
            "# @schema {crd: sdthings.spec}\n# -- D.\na: {}\n",
            "line 3: a: crd: sdthings.spec: no kind sdthings",
        ),
        ("# @schema {crd: sdinstances.spec.x}\n# -- D.\na: {}\n", "crd: sdinstances.spec.x: no field x"),
        ("- a\n", "a mapping of values is wanted"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_value(text: str, says: str) -> None:
    with pytest.raises(chart_schema.Mistake) as refused:
        chart_schema.schema(text)
    assert says in str(refused.value)


# --- the charts' own


def schema(chart: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    return found


def values(chart: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return found


def merged(own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A chart's values with others over them, as Helm lays them before it looks at the schema."""
    both = {
        key: merged(own[key], value) if isinstance(value, dict) and isinstance(own.get(key), dict) else value
        for key, value in given.items()
    }
    return {**own, **both}


def parts(node: dict[str, Any], path: str = "values") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every value, by its path, with its schema."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from parts(inner, f"{path}.{name}")


@by_chart
def test_it_is_a_schema(chart: Path) -> None:
    jsonschema.Draft7Validator.check_schema(schema(chart))
    assert schema(chart)["$schema"] == chart_schema.DRAFT


@by_chart
def test_its_own_values_are_taken(chart: Path) -> None:
    jsonschema.Draft7Validator(schema(chart)).validate(values(chart))


@by_chart
def test_a_key_that_an_object_does_not_list_is_refused(chart: Path) -> None:
    closed = {path: part for path, part in parts(schema(chart)) if "properties" in part}
    assert len(closed) > 2
    del closed["values.global"]  # holds other charts' values
    for path, part in closed.items():
        errors = jsonschema.Draft7Validator(part).iter_errors({"noSuchValue": 1})
        assert "additionalProperties" in {error.validator for error in errors}, path


@by_chart
def test_no_value_takes_whatever_it_is_given(chart: Path) -> None:
    """Each refuses at least two of a number, a list of numbers and a mapping of numbers."""
    for path, part in parts(schema(chart)):
        judge = jsonschema.Draft7Validator(part)
        taken = [each for each in (-1.5, [-1.5], {"a": -1.5}) if judge.is_valid(each)]
        assert len(taken) <= 1, path


# Kubernetes' own shapes, of which any field may be left to the cluster.
SHAPED = {"resources", "podSecurityContext"}
# Entries of mappings whose keys are anybody's.
FREE = {("gpu", "familyMemory", family) for family in ("SD15", "SD21", "SDXL", "SDXLRefiner")}
FREE |= {("dashboard", "labels", "grafana_dashboard")}


def paths(node: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every value that has a default, those within mappings among them."""
    for name, inner in node.items():
        yield (*above, name)
        if isinstance(inner, dict) and name not in SHAPED:
            yield from paths(inner, (*above, name))


@by_chart
def test_a_value_that_is_taken_out_is_refused(chart: Path) -> None:
    """A null is no way to no value: templates would write it down, or stop at it."""
    judge = jsonschema.Draft7Validator(schema(chart))
    found = set(paths(values(chart)))
    assert ("global", "imageRegistry") in found
    for *above, name in found - FREE:
        node = rest = values(chart)
        for step in above:
            node = node[step]
        del node[name]
        assert [error.validator for error in judge.iter_errors(rest)] == ["required"], (*above, name)


NULLS = [
    ("sd-operator", "networkPolicy.apiServerPorts"),
    ("sd-operator", "gpu.profiles"),
    ("sd-operator", "gpu.familyMemory"),
    ("sd-operator", "gpu.headroom"),
    ("sd-operator", "podImagePullPolicy"),
    ("sd-operator", "podSecurityContext"),
    ("sd-operator", "prometheusRule.runbookUrl"),
    ("sd-instance", "access"),
    ("sd-instance", "replicas"),
    ("sd-models", "fetch"),
    ("sd-models", "verifyInterval"),
    ("sd-plugin-basic", "global"),
]


@pytest.mark.parametrize(("chart", "value"), NULLS)
def test_helm_refuses_null_by_the_values_name(chart: str, value: str) -> None:
    found = subprocess.run(
        [tool("helm"), "template", "release", str(ROOT / "charts" / chart), "--set", f"{value}=null"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode != 0
    above, _, name = value.rpartition(".")
    where = "/" + above if above else ""
    assert f"at '{where}': missing property '{name}'" in found.stderr


@pytest.mark.parametrize(
    ("chart", "option", "says"),
    [
        ("sd-operator", "imagee.tag=1", "imagee"),
        ("sd-operator", "image.tagg=1", "tagg"),
        ("sd-operator", "image.pullPolicy=Sometimes", "pullPolicy"),
        ("sd-operator", "logLevel=TRACE", "logLevel"),
        ("sd-instance", "replicas=many", "replicas"),
        ("sd-instance", "resources.request.cpu=1", "request"),
        ("sd-models", "bundles.sd15.enabled=yes please", "enabled"),
        ("sd-plugin-basic", "name=Upper", "name"),
    ],
)
def test_helm_refuses_a_wrong_value_by_its_name(chart: str, option: str, says: str) -> None:
    found = subprocess.run(
        [tool("helm"), "template", "release", str(ROOT / "charts" / chart), "--set", option],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode != 0
    assert says in found.stderr


def test_null_within_a_security_context_leaves_the_field_to_the_cluster() -> None:
    options = [
        word
        for field in ("runAsUser", "runAsGroup")
        for word in ("--set", f"podSecurityContext.{field}=null")
    ]
    text = rendered(ROOT / "charts" / "sd-operator", *options)
    (pod,) = (each for each in manifests(text) if each["kind"] == "Deployment")
    assert set(pod["spec"]["template"]["spec"]["securityContext"]) == {"runAsNonRoot", "seccompProfile"}


@by_chart
def test_a_chart_that_holds_it_needs_to_say_nothing(chart: Path, tmp_path: Path) -> None:
    """Its own values are laid under what the outer chart says before the schema is looked at."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / chart.name).symlink_to(chart)
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: outer\nversion: 1.0.0\n")
    (tmp_path / "values.yaml").write_text("global: {storageClass: fast}\n")
    assert rendered(tmp_path, "--set", "global.imageRegistry=mirror.example.org")


@by_chart
def test_a_chart_that_holds_it_may_leave_it_out_by_a_condition(chart: Path, tmp_path: Path) -> None:
    """Helm hands the condition's value on to the chart, whose schema must know it then."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / chart.name).symlink_to(chart)
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    needed = {"name": chart.name, "version": version, "condition": f"{chart.name}.enabled"}
    outer = {"apiVersion": "v2", "name": "outer", "version": "1.0.0", "dependencies": [needed]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(outer))
    # As in a real chart: what is switched on makes something.
    more = ("--set", f"{chart.name}.bundles.sd15.enabled=true") if chart.name == "sd-models" else ()
    assert manifests(rendered(tmp_path, "--set", f"{chart.name}.enabled=true", *more))
    assert not manifests(rendered(tmp_path, "--set", f"{chart.name}.enabled=false", *more))


@by_chart
def test_a_chart_alone_is_not_left_out_by_itself(chart: Path) -> None:
    """Where nothing holds the chart, a condition has no effect: so false is refused, not passed over."""
    judge = jsonschema.Draft7Validator(schema(chart))
    assert judge.is_valid({**values(chart), "enabled": True})
    for given in (False, "yes", None):
        (error,) = judge.iter_errors({**values(chart), "enabled": given})
        assert list(error.absolute_path) == ["enabled"]


def test_a_chart_with_a_switch_of_its_own_keeps_it() -> None:
    assert made("# -- D.\nenabled: false\n")["enabled"] == {"description": "D.", "type": "boolean"}


@pytest.mark.parametrize(
    "scenario", [each for each in scenarios() if each.values], ids=lambda scenario: scenario.name
)
def test_a_scenario_keeps_to_the_schema(scenario: Scenario) -> None:
    assert scenario.values is not None
    given = yaml.safe_load(scenario.values.read_text())
    jsonschema.Draft7Validator(schema(scenario.chart)).validate(merged(values(scenario.chart), given))
