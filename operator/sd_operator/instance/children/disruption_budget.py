"""The PodDisruptionBudget of an instance's pods. Pure."""

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.metadata import metadata, pod_selector
from sd_operator.manifests import Object


def build_disruption_budget(instance: SDInstance) -> Object:
    """Nodes are drained one pod at a time."""
    return {
        "apiVersion": names.DISRUPTIONBUDGET.api_version,
        "kind": names.DISRUPTIONBUDGET.kind,
        "metadata": metadata(instance),
        "spec": {
            "maxUnavailable": 1,
            # A pod that serves nobody must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": pod_selector(instance)},
        },
    }
