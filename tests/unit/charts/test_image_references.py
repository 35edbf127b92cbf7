"""Images' names in every chart: put together from values to references that a registry can be asked for.

What the parts are by default, and that every image moves to a mirror, test_rendering.py looks at.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import chart_rendering as charts
import pytest

from hack import chart_schema

by_chart = pytest.mark.parametrize("chart", charts.CHARTS, ids=lambda chart: chart.name)

# What each chart calls its images.
IMAGES = {
    "sd-operator": ("image", "runtimeImage"),
    "sd-instance": ("image", "test.image"),
    "sd-models": ("test.image",),
}
# A chart that names all its images only with these.
ALL = {
    "sd-models": ("--set", "bundles.sd15.enabled=true"),
    "sd-instance": ("--set", "image.repository=sd/runtime"),
}
# The grammar of distribution/reference, as far as it is needed here: host and port, path, tag or digest.
REFERENCE = re.compile(
    r"([-A-Za-z0-9.]+|\[[0-9A-Fa-f:]+\])(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}|@sha256:[0-9a-f]{64})"
)


def parts(chart: charts.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema of each value that is a part of an image's name, by what part it is."""
    schema = json.loads((chart / "values.schema.json").read_text())["properties"]
    yield "registry", schema["global"]["properties"]["imageRegistry"]
    for path in IMAGES.get(chart.name, ("image",)):
        node = {"properties": schema}
        for step in path.split("."):
            node = node["properties"][step]
        for part in ("registry", "repository", "tag", "digest"):
            yield part, node["properties"][part]


@by_chart
@pytest.mark.parametrize("registry", ["reg.example.org:5000/p", "reg.example.org:5000/p/"])
def test_a_registry_may_end_in_a_slash(chart: charts.Path, registry: str) -> None:
    options = (*ALL.get(chart.name, ()), "--set", f"global.imageRegistry={registry}")
    found = charts.images(charts.manifests(charts.rendered(chart, *options)))
    assert found
    for image in found:
        assert REFERENCE.fullmatch(image), image
        assert image.startswith(("reg.example.org:5000/p/sd-operator/", "reg.example.org:5000/p/sd/")), image


@by_chart
def test_an_images_own_registry_may_end_in_a_slash(chart: charts.Path) -> None:
    own = IMAGES.get(chart.name, ("image",))
    options = [word for each in own for word in ("--set", f"{each}.registry=reg.example.org/")]
    found = charts.images(charts.manifests(charts.rendered(chart, *ALL.get(chart.name, ()), *options)))
    assert found
    for image in found:
        assert REFERENCE.fullmatch(image), image
        assert image.startswith("reg.example.org/sd"), image


@by_chart
def test_a_registry_may_be_an_address(chart: charts.Path) -> None:
    """Which YAML reads as a list, where it is not quoted."""
    options = (*ALL.get(chart.name, ()), "--set", "global.imageRegistry=[fd00::1]:5000")
    found = charts.images(charts.manifests(charts.rendered(chart, *options)))
    assert found
    for image in found:
        assert REFERENCE.fullmatch(image), image
        assert image.startswith("[fd00::1]:5000/sd"), image


TAKEN = {
    "registry": [
        *("", "ghcr.io", "REGISTRY", "localhost:5000"),
        *("reg.example.org:5000/team/p_a-b", "[fd00::1]:5000"),
    ],
    "repository": ["a", "sd-operator/operator", "a__b/c.d/e--f", "reg.example.org/a/b"],
    "tag": ["", "0.2.0", "v1_a.b-C", "x" * 128],
    "digest": ["", "sha256:" + "0" * 64],
}
REFUSED = {
    "registry": [
        *("a b", "a: b", "a#b", "\u00e4.example", "https://ghcr.io"),
        *("ghcr.io//", "/ghcr.io", "ghcr.io/A", "ghcr.io:"),
    ],
    "repository": [
        *("a/b:tag", "a/b@sha256:00", "a b", 'a"b', "A/b"),
        *("a//b", "/a", "a/", "reg:5000/b", "a___b"),
    ],
    "tag": ["x # y", "a:b", "a/b", ".a", "-a", "x" * 129, "0.2.0+team.1", "a\nb"],
    "digest": ["sha256:0", "0" * 64, "sha512:" + "0" * 128],
}


@pytest.mark.parametrize("part", TAKEN)
@by_chart
def test_parts_that_make_a_reference_are_taken(chart: charts.Path, part: str) -> None:
    patterns = [schema["pattern"] for name, schema in parts(chart) if name == part]
    assert patterns
    for value in TAKEN[part]:
        assert all(re.search(each, value) for each in patterns), value


@pytest.mark.parametrize("part", REFUSED)
@by_chart
def test_parts_that_make_no_reference_are_refused(chart: charts.Path, part: str) -> None:
    for name, schema in parts(chart):
        if name == part:
            assert not [value for value in REFUSED[part] if re.search(schema["pattern"], value)]


@by_chart
def test_only_an_instances_image_may_be_left_to_the_operator(chart: charts.Path) -> None:
    least = [schema.get("minLength", 0) for part, schema in parts(chart) if part == "repository"]
    assert least.count(0) == (chart.name == "sd-instance")


@by_chart
def test_every_chart_has_the_same_patterns(chart: charts.Path) -> None:
    for part, schema in parts(chart):
        assert schema["pattern"] == chart_schema.IMAGE[part]["pattern"], part
