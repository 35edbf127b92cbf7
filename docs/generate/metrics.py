"""docs/metrics.md: what the operator, the runtime and fetch pods tell Prometheus, from their registries."""

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from sd_operator import metrics as operator_metrics
from sd_operator.fetch import progress
from sd_runtime import metrics as runtime_metrics

_HEADER: Final = """\
# Metrics

Generated from the registries of `sd_operator` and `sd_runtime` (`make docs`). Beside these each process
tells of itself as every Prometheus client does (`process_…`). A counter also has `…_created`, a histogram
`…_bucket`, `…_sum`, `…_count`. Labels are bounded: kinds, reasons, routes, never names of objects or users.

Where the ServiceMonitor kind exists when the operator starts, each SDInstance gets one for its pods
([sdinstance.md](sdinstance.md#around-it)). Where your Prometheus selects ServiceMonitors by labels, name them
in `serviceMonitor.labels` of the operator's chart. What to alert on is in the [runbook](runbook.md#alerts).
"""


def document() -> str:
    """The page."""
    runtime = runtime_metrics.Metrics()
    runtime.watch_device_memory(lambda: {"free": 0})
    runtime.watch_plugins(lambda: {"canny": True})
    parts = (
        ("The operator", "Port 9090, `/metrics`.", operator_metrics.Metrics()),
        ("The runtime", "Port `management` (9091) of a serving pod, `/metrics`.", runtime),
        (
            "A fetch pod",
            "Port `management` (9091), `/metrics`, as long as the pod lives.",
            progress.Progress(),
        ),
    )
    return _HEADER + "".join(
        f"\n## {title}\n\n{where}\n\n" + "\n".join(_table(source, source.registry)) + "\n"
        for title, where, source in parts
    )


def _table(source: Any, registry: CollectorRegistry) -> Iterator[str]:
    yield from ("| metric | type | labels | meaning |", "| --- | --- | --- | --- |")
    labels = {
        each._name: each._labelnames for each in vars(source).values() if isinstance(each, MetricWrapperBase)
    }
    for family in sorted(registry.collect(), key=lambda each: each.name):
        if family.name.startswith(("process_", "python_")):
            continue
        # A metric that is collected when it is asked for has its labels in what it answers.
        named = labels.get(family.name) or [key for each in family.samples[:1] for key in each.labels]
        told = ", ".join(f"`{label}`" for label in named if label != "le")
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"| `{name}` | {family.type} | {told} | {family.documentation} |"
