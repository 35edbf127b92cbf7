"""The Services of an instance's pods. Pure."""

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.metadata import PODS, metadata, pod_selector
from sd_operator.manifests import Object

HTTP: Object = {"name": "http", "port": names.HTTP_PORT, "targetPort": "http", "protocol": "TCP"}
MANAGEMENT: Object = {
    "name": "management",
    "port": names.MANAGEMENT_PORT,
    "targetPort": "management",
    "protocol": "TCP",
}


def build_service(instance: SDInstance) -> Object:
    """The Service for users; it has the instance's own name, so that its address can be told in advance."""
    service = instance.spec.access.service
    found = metadata(instance)
    if service.annotations:
        found["annotations"] = dict(service.annotations)
    return {
        "apiVersion": names.SERVICE.api_version,
        "kind": names.SERVICE.kind,
        "metadata": found,
        "spec": {
            "type": service.type,
            "selector": pod_selector(instance),
            # A1111's progress, interrupt and options speak about one pod: a client stays with the one it got.
            "sessionAffinity": "ClientIP",
            "ports": [HTTP],
        },
    }


def build_headless_service(instance: SDInstance) -> Object:
    """The addresses of the single pods: for each other, and for Prometheus."""
    return {
        "apiVersion": names.SERVICE.api_version,
        "kind": names.SERVICE.kind,
        "metadata": metadata(instance, name=names.headless_name(instance.metadata.name), component=PODS),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": pod_selector(instance),
            # A pod that loads or drains has metrics, and may be asked for the jobs it accepted.
            "publishNotReadyAddresses": True,
            "ports": [HTTP, MANAGEMENT],
        },
    }


def endpoint(instance: SDInstance) -> str:
    """The address of the service inside the cluster."""
    return f"http://{instance.metadata.name}.{instance.metadata.namespace}.svc:{names.HTTP_PORT}"
