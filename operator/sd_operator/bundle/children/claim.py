"""The volume claim that a bundle's files are kept on. Pure.

It has no owner: deleting the bundle leaves the files, and a bundle of the same name finds them again.
"""

from sd_operator import names
from sd_operator.api import quantity
from sd_operator.api.bundle import ModelBundle
from sd_operator.manifests import Object, labels


def build_claim(bundle: ModelBundle, *, size: str) -> Object:
    """The claim, of the size that `size_to_ask` or the claim that lives has."""
    storage = bundle.spec.storage
    name = bundle.metadata.name
    spec: Object = {
        "accessModes": list(storage.access_modes),
        "resources": {"requests": {"storage": size}},
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


def size_to_ask(bundle: ModelBundle, live: Object | None) -> str:
    """The size of the spec, but no smaller than the claim that lives: a volume cannot shrink.

    An expansion that was asked for and has not happened may be taken back.
    """
    wanted, asked, has = bundle.spec.storage.size, live_size(live), _capacity(live)
    if asked is None or not _is_less(wanted, asked):
        return wanted
    return wanted if has is not None and _is_less(has, wanted) else asked


def size_note(bundle: ModelBundle, asked: str) -> str | None:
    """What is said of a spec that asks for less than the volume has."""
    wanted = bundle.spec.storage.size
    if not _is_less(wanted, asked):
        return None
    return f"spec.storage.size: {wanted} is ignored, because volumes only grow and this one asks for {asked}"


def live_size(live: Object | None) -> str | None:
    """What the claim that lives asks for."""
    resources = (live or {}).get("spec", {}).get("resources") or {}
    size: str | None = (resources.get("requests") or {}).get("storage")
    return size


def _capacity(live: Object | None) -> str | None:
    size: str | None = (((live or {}).get("status") or {}).get("capacity") or {}).get("storage")
    return size


def _is_less(one: str, other: str) -> bool:
    first, second = quantity.stored(one), quantity.stored(other)
    return first is not None and second is not None and first < second
