"""The operator's Prometheus metrics, in a registry of their own so that tests can have many.

Labels are bounded: kinds, verbs and reasons, never object names.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sd_operator import names


class Metrics:
    """One instance a process, handed to whoever has something to count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._of_work()
        self._of_queue()
        self._of_objects()
        self._of_api()

    def _of_work(self) -> None:
        self.reconcile_seconds = Histogram(
            "sdo_reconcile_seconds",
            "Duration of one reconcile.",
            ["kind"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.errors = Counter(
            "sdo_reconcile_errors_total",
            "Reconciles that failed.",
            ["kind", "reason"],
            registry=self.registry,
        )

    def _of_queue(self) -> None:
        self.queue_depth = Gauge("sdo_queue_depth", "Keys waiting for a worker.", registry=self.registry)
        self.queue_delayed = Gauge(
            "sdo_queue_delayed", "Keys waiting for their time.", registry=self.registry
        )
        self.queue_failing = Gauge(
            "sdo_queue_failing", "Keys whose last pass failed and is tried again.", registry=self.registry
        )
        self.queue_wait = Histogram(
            "sdo_queue_wait_seconds",
            "How long a key that was due waited for a worker.",
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )

    def _of_objects(self) -> None:
        self.instances = Gauge(
            "sdo_instances",
            "SDInstances with a condition that is True.",
            ["condition", "reason"],
            registry=self.registry,
        )
        self.bundles = Gauge(
            "sdo_bundles",
            "ModelBundles with a condition that is True.",
            ["condition", "reason"],
            registry=self.registry,
        )
        self.plugins = Gauge(
            "sdo_plugins",
            "SDPlugins with a condition that is True.",
            ["condition", "reason"],
            registry=self.registry,
        )
        self.cached = Gauge("sdo_cache_objects", "Objects held in memory.", ["kind"], registry=self.registry)
        self.audit_repairs = Counter(
            "sdo_audit_repairs_total",
            "Objects that the watches had told wrongly or not at all, found and put right by the audit.",
            ["kind"],
            registry=self.registry,
        )
        for resource in (*names.OWN, *names.CHILDREN, *names.OPTIONAL_CHILDREN):
            # From nought: what begins with its first event has not increased, to Prometheus.
            self.audit_repairs.labels(resource.kind)

    def _of_api(self) -> None:
        self.api_writes = Counter(
            "sdo_api_writes_total",
            "Writes accepted by the API server.",
            ["verb", "kind"],
            registry=self.registry,
        )
        self.api_reads = Counter(
            "sdo_api_reads_total",
            "Reads answered by the API server.",
            ["verb", "kind"],
            registry=self.registry,
        )
        self.watch_age = Gauge(
            "sdo_watch_age_seconds",
            "Seconds since the watch of a kind was opened or brought an event.",
            ["kind"],
            registry=self.registry,
        )

    def conditions(self, gauge: Gauge, counts: Mapping[tuple[str, str], int]) -> None:
        """Set a gauge of (condition, reason); what no object has any more is not shown."""
        gauge.clear()
        for (condition, reason), count in counts.items():
            gauge.labels(condition, reason).set(count)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
