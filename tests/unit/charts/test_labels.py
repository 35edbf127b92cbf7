"""Labels that an API server takes, whatever a chart's version: Flux adds `+` and a digest to one from OCI."""

import functools
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import chart_rendering as charts
import pytest
import yaml

#: Kubernetes' rule for the value of a label.
VALUE = re.compile(r"(?=.{0,63}$)(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
#: Where objects have labels, and where they look for those of others.
HOLDERS = ("labels", "matchLabels")
VERSIONS = {"a digest": "1.2.3+8f3a1b2c4d5e", "too long": f"1.2.3-rc.1+a{'-' * 80}b"}
Packed = Callable[[charts.Path, str], charts.Path]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A chart's archive with another version, made once."""

    @functools.cache
    def archive(chart: charts.Path, version: str) -> charts.Path:
        folder = tmp_path_factory.mktemp(chart.name)
        command = ("package", chart, "--version", version, "--app-version", version, "--destination", folder)
        subprocess.run([charts.tool("helm"), *command], capture_output=True, check=True)
        (made,) = folder.iterdir()
        return made

    return archive


def labels(node: Any) -> Iterator[tuple[str, str]]:
    """Every label within an object, those of its pods' templates and selectors among them."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in HOLDERS and isinstance(value, dict):
                yield from ((str(name), str(each)) for name, each in value.items())
            else:
                yield from labels(value)
    elif isinstance(node, list):
        for value in node:
            yield from labels(value)


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("scenario", charts.scenarios(), ids=lambda scenario: scenario.name)
def test_every_label_is_one_to_kubernetes(packed: Packed, scenario: charts.Scenario, version: str) -> None:
    archive = packed(scenario.chart, version)
    for manifest in charts.manifests(charts.rendered(archive, *scenario.arguments)):
        if manifest["kind"] == "CustomResourceDefinition":
            continue  # its fields called labels are schemas
        for name, value in labels(manifest):
            assert VALUE.fullmatch(value), f"{manifest['kind']}: {name}: {value}"


@pytest.mark.parametrize("chart", charts.CHARTS, ids=lambda chart: chart.name)
def test_labels_still_say_the_version(packed: Packed, chart: charts.Path) -> None:
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    sets = ("--set", "bundles.sd15.enabled=true") if chart.name == "sd-models" else ()
    first = charts.manifests(charts.rendered(packed(chart, VERSIONS["a digest"]), *sets))
    said = [dict(labels(each)) for each in first if each["kind"] != "CustomResourceDefinition"]
    assert said
    for own in said:
        assert own["helm.sh/chart"] == f"{about['name']}-1.2.3_8f3a1b2c4d5e"
        assert own["app.kubernetes.io/version"] == "1.2.3_8f3a1b2c4d5e"
