"""Alerts and dashboard name only what the operator and the runtime export, in expressions that Prometheus
reads."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from chart_rendering import ROOT
from operator_chart import CHART, NAMESPACE, RELEASE, only

from sd_operator import metrics as operator_metrics
from sd_operator import names
from sd_runtime import metrics as runtime_metrics

#: What Grafana puts in place, and an example of it.
VARIABLES = {"$__rate_interval": "5m"}
#: Prometheus' own, of every target.
OWN = {"up": {"job", "namespace"}}
#: The series of a family, by its type.
SERIES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
#: Shown by its average, from two counters.
BY_OTHERS = {"sd_evaluation_batch_rows"}
#: What a target's series have by how it is found, by both ServiceMonitors.
OF_TARGETS = {"job", "namespace", "pod"}


def families() -> Iterator[tuple[str, str, set[str]]]:
    """Name, type and labels of what both processes export, by their code."""
    runtime = runtime_metrics.Metrics()
    runtime.watch_device_memory(lambda: {"free": 1})
    runtime.watch_plugins(lambda: {"some": True})
    for registry in (operator_metrics.Metrics().registry, runtime.registry):
        for collector in registry._collector_to_names:
            for family in collector.collect():
                # Without a sample yet, only the collector knows its labels.
                seen = {label for sample in family.samples for label in sample.labels}
                yield family.name, family.type, seen | set(getattr(collector, "_labelnames", ()))


def exported() -> dict[str, set[str]]:
    """Series → its labels."""
    found: dict[str, set[str]] = dict(OWN)
    for name, kind, labels in families():
        for suffix in SERIES[kind]:
            found.setdefault(name + suffix, set()).update(labels, {"le"} if suffix == "_bucket" else ())
    return found


EXPORTED = exported()


def rules(*sets: str) -> list[dict[str, Any]]:
    groups = only("PrometheusRule", "prometheusRule.enabled=true", *sets)["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def selectors(node: Any) -> Iterator[Any]:
    """Every selector of series in a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    for child in (*children, *(getattr(node, "args", None) or ())):
        if child is not None:
            yield from selectors(child)


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_an_expression_parses_and_names_only_what_is_exported(name: str, expression: str) -> None:
    found = list(selectors(promql_parser.parse(filled(expression))))
    assert found
    for selector in found:
        assert selector.name in EXPORTED, f"{name}: {selector.name}"
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= EXPORTED[selector.name] | OF_TARGETS, f"{name}: {selector.name}"


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_what_is_grouped_by_is_a_label_of_what_is_grouped(name: str, expression: str) -> None:
    known = set().union(
        *(EXPORTED[selector.name] for selector in selectors(promql_parser.parse(filled(expression))))
    )
    for group in re.findall(r" by \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", group)) <= known | OF_TARGETS, name


@pytest.mark.parametrize("wrong", ["sdo_no_such_total", "sd_queue_depth{nothing='x'}"])
def test_a_name_that_nobody_exports_would_be_noticed(wrong: str) -> None:
    with pytest.raises(AssertionError):
        test_an_expression_parses_and_names_only_what_is_exported("wrong", wrong)


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    text = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    ours = {name for name, _, _ in families() if name.startswith(("sd_", "sdo_"))} - BY_OTHERS
    assert len(ours) > 25
    assert {name for name in ours if not re.search(rf"\b{name}(?:_total|_bucket|_count)?\{{", text)} == set()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_for_how_long_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_speaks_only_of_labels_that_its_series_have(rule: dict[str, Any]) -> None:
    kept = {
        label for group in re.findall(r" by \(([^)]*)\)", rule["expr"]) for label in re.split(r",\s*", group)
    }
    said = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert said <= kept


def test_each_alert_has_a_name_of_its_own_and_a_section_of_the_runbook() -> None:
    alerts = [rule["alert"] for rule in rules()]
    assert len(set(alerts)) == len(alerts)
    sections = re.findall(r"^#+ (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert set(alerts) <= set(sections)


def test_the_operator_is_selected_as_its_service_monitor_makes_it() -> None:
    monitor = only("ServiceMonitor", "serviceMonitor.enabled=true")["spec"]
    service = only("Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    # A target's job is called as its Service.
    job = service["metadata"]["name"]
    (down,) = (rule["expr"] for rule in rules() if rule["alert"] == "SDOperatorDown")
    assert down == f'absent(up{{job="{job}",namespace="{NAMESPACE}"}} == 1)'
    assert job == f"{RELEASE}-metrics"


def test_alerts_of_an_operator_of_one_namespace_are_about_that_namespace() -> None:
    for rule in rules("watchNamespace=art"):
        for selector in selectors(promql_parser.parse(rule["expr"])):
            if selector.name.startswith("sd_"):
                assert [m.value for m in selector.matchers.matchers if m.name == "namespace"] == ["art"]


def test_what_a_first_event_is_to_be_noticed_by_is_told_before_it() -> None:
    started = {
        sample.name: sample.labels
        for metrics in (operator_metrics.Metrics(), runtime_metrics.Metrics())
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    alerting = [rule["expr"] for rule in rules() if re.search(r"increase\(.* > 0$", rule["expr"])]
    assert len(alerting) >= 3
    for expression in alerting:
        for selector in selectors(promql_parser.parse(expression)):
            # A series that begins with 1 has not increased, to Prometheus.
            assert selector.name in started, f"{selector.name} has no series before its first event"


def test_every_kind_and_every_result_is_counted_from_nought() -> None:
    operator, runtime = operator_metrics.Metrics().registry, runtime_metrics.Metrics().registry
    for kind in (*names.OWN, *names.CHILDREN, *names.OPTIONAL_CHILDREN):
        assert operator.get_sample_value("sdo_audit_repairs_total", {"kind": kind.kind}) == 0
    for result in ("done", "failed", "superseded"):
        assert runtime.get_sample_value("sd_checkpoint_switches_total", {"result": result}) == 0


def test_who_is_suspended_is_neither_not_ready_nor_stalled() -> None:
    (alert,) = (rule["expr"] for rule in rules() if rule["alert"] == "SDInstancesNotReady")
    taken_off = (
        'sum(sdo_instances{job="operator-metrics",namespace="ops",condition="Stalled",reason="Suspended"})'
    )
    assert f" - ({taken_off} or vector(0)) > 0" in alert
    (shown,) = (panel["targets"] for panel in panels() if panel["title"] == "Stalled SDInstances")
    assert 'condition="Stalled",reason!="Suspended"' in shown[0]["expr"]


def test_operators_of_one_name_in_two_namespaces_can_be_told_apart() -> None:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    variables = [each["name"] for each in dashboard["templating"]["list"]]
    assert variables.index("operatorNamespace") < variables.index("operator")
    for panel in panels():
        for target in panel["targets"]:
            for selector in selectors(promql_parser.parse(filled(target["expr"]))):
                asked = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
                if asked["job"] == "$operator":
                    assert asked["namespace"] == "$operatorNamespace", panel["title"]


def test_where_the_runbook_is_read_can_be_said() -> None:
    urls = {rule["annotations"]["runbook_url"] for rule in rules("prometheusRule.runbookUrl=https://wiki/sd")}
    assert all(url.startswith(("https://wiki/sd#sd", "https://wiki/sd#model")) for url in urls)
