"""The NetworkPolicy of an instance's pods. Pure.

All defaults are said: the rules are compared whole with those that live.
"""

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.metadata import metadata, pod_selector
from sd_operator.manifests import Object

_HTTP: Object = {"port": names.HTTP_PORT, "protocol": "TCP"}
_MANAGEMENT: Object = {"port": names.MANAGEMENT_PORT, "protocol": "TCP"}
_DNS: list[Object] = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]


def build_network_policy(instance: SDInstance) -> Object:
    """Users reach the service, the cluster's pods its management; the pods reach names and each other."""
    own_pods = {"matchLabels": pod_selector(instance)}
    return {
        "apiVersion": names.NETWORKPOLICY.api_version,
        "kind": names.NETWORKPOLICY.kind,
        "metadata": metadata(instance),
        "spec": {
            "podSelector": own_pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                # From everywhere: load balancers and ingress controllers may be no pods of the cluster.
                {"ports": [_HTTP]},
                # The operator and Prometheus may be in any namespace, and have a token or read only numbers.
                {"ports": [_MANAGEMENT], "from": [{"namespaceSelector": {}}]},
            ],
            "egress": [
                # To everywhere: a node's DNS cache is not a pod.
                {"ports": _DNS},
                {"ports": [_HTTP, _MANAGEMENT], "to": [{"podSelector": own_pods}]},
            ],
        },
    }
