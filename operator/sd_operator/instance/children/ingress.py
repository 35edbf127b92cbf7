"""The Ingress in front of an instance's Service. Pure."""

from sd_operator import names
from sd_operator.api.access import Ingress
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.metadata import metadata
from sd_operator.manifests import Object


def build_ingress(instance: SDInstance, ingress: Ingress) -> Object:
    """The whole service under one host."""
    found = metadata(instance)
    if ingress.annotations:
        found["annotations"] = dict(ingress.annotations)
    backend = {"service": {"name": instance.metadata.name, "port": {"name": "http"}}}
    spec: Object = {
        "rules": [
            {
                "host": ingress.host,
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
            }
        ]
    }
    if ingress.class_name is not None:
        spec["ingressClassName"] = ingress.class_name
    if ingress.tls_secret_name is not None:
        spec["tls"] = [{"hosts": [ingress.host], "secretName": ingress.tls_secret_name}]
    return {
        "apiVersion": names.INGRESS.api_version,
        "kind": names.INGRESS.kind,
        "metadata": found,
        "spec": spec,
    }
