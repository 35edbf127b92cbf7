"""The volume claim that a bundle's files are kept on. Pure.

It has no owner: deleting the bundle leaves the files, and a bundle of the same name finds them again, unless
the spec asks for their deletion.
"""

from sd_operator import claims, names
from sd_operator.api.bundle import ModelBundle
from sd_operator.manifests import Object, labels


def build_claim(bundle: ModelBundle, *, size: str) -> Object:
    """The claim, of the size that `size_to_ask` or the claim that lives has."""
    storage = bundle.spec.storage
    name = bundle.metadata.name
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
        "spec": claims.claim_spec(
            size=size, access_modes=storage.access_modes, storage_class_name=storage.storage_class_name
        ),
    }


def size_to_ask(bundle: ModelBundle, live: Object | None) -> str:
    """The size of the spec, but no smaller than the claim that lives."""
    return claims.size_to_ask(bundle.spec.storage.size, live)


def size_note(bundle: ModelBundle, asked: str) -> str | None:
    """What is said of a spec that asks for less than the volume has."""
    return claims.size_note("spec.storage.size", bundle.spec.storage.size, asked)


def is_own(bundle: ModelBundle, claim: Object) -> bool:
    """Whether the operator made the claim, for a bundle of this name."""
    return (claim["metadata"].get("labels") or {}).get(names.LABEL_SD_BUNDLE) == bundle.metadata.name
