"""The Service in front of an instance's pods. Pure."""

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.manifests import Object, labels, owner_reference


def build_service(instance: SDInstance) -> Object:
    """The Service; it has the instance's own name, so that its address can be told in advance."""
    name = instance.metadata.name
    return {
        "apiVersion": names.SERVICE.api_version,
        "kind": names.SERVICE.kind,
        "metadata": {
            "name": name,
            "namespace": instance.metadata.namespace,
            "labels": labels(
                app="sd-instance", owner=name, component="runtime", extra={names.LABEL_SD_INSTANCE: name}
            ),
            "ownerReferences": [owner_reference(names.SDINSTANCE, name=name, uid=instance.metadata.uid)],
        },
        "spec": {
            "type": instance.spec.access.service.type,
            "selector": {names.LABEL_SD_INSTANCE: name},
            # A1111's progress, interrupt and options speak about one pod: a client stays with the one it got.
            "sessionAffinity": "ClientIP",
            "ports": [{"name": "http", "port": names.HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def endpoint(instance: SDInstance) -> str:
    """The address of the service inside the cluster."""
    return f"http://{instance.metadata.name}.{instance.metadata.namespace}.svc:{names.HTTP_PORT}"
