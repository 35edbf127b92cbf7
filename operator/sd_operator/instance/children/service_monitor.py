"""The ServiceMonitor by which Prometheus finds an instance's pods, where its operator is installed. Pure."""

from collections.abc import Mapping

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.metadata import PODS, metadata, pod_selector
from sd_operator.manifests import Object


def build_service_monitor(instance: SDInstance, labels: Mapping[str, str]) -> Object:
    """The ServiceMonitor; it selects the headless Service, which also tells of pods that are not ready.

    `labels` are those by which a Prometheus selects it; the operator's own win, as they tell its children.
    """
    found = metadata(instance)
    found["labels"] = {**labels, **found["labels"]}
    return {
        "apiVersion": names.SERVICEMONITOR.api_version,
        "kind": names.SERVICEMONITOR.kind,
        "metadata": found,
        "spec": {
            "selector": {"matchLabels": {**pod_selector(instance), names.LABEL_COMPONENT: PODS}},
            "endpoints": [{"port": "management", "path": "/metrics"}],
        },
    }
