"""The volume claim that a bundle's files are kept on. Pure.

It has no owner: deleting the bundle leaves the files, and a bundle of the same name finds them again.
"""

from sd_operator import names
from sd_operator.api import quantity
from sd_operator.api.bundle import ModelBundle
from sd_operator.manifests import Object, labels


def build_claim(bundle: ModelBundle, *, live_size: str | None) -> Object:
    """The claim; never smaller than the one that lives, because a volume cannot shrink."""
    storage = bundle.spec.storage
    name = bundle.metadata.name
    spec: Object = {
        "accessModes": list(storage.access_modes),
        "resources": {"requests": {"storage": _larger(storage.size, live_size)}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": names.CLAIM.api_version,
        "kind": names.CLAIM.kind,
        "metadata": {
            "name": names.claim_name(name),
            "namespace": bundle.metadata.namespace,
            "labels": labels(
                app="sd-bundle", owner=name, component="models", extra={names.LABEL_SD_BUNDLE: name}
            ),
        },
        "spec": spec,
    }


def _larger(wanted: str, live: str | None) -> str:
    wanted_value, live_value = quantity.parse(wanted), quantity.parse(live or "")
    if live is not None and wanted_value is not None and live_value is not None and live_value > wanted_value:
        return live
    return wanted
