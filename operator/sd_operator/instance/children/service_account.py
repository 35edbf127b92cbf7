"""The ServiceAccount of an instance's pods: one that nobody has given rights to. Pure."""

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.metadata import metadata
from sd_operator.manifests import Object


def build_service_account(instance: SDInstance) -> Object:
    """The ServiceAccount."""
    return {
        "apiVersion": names.SERVICEACCOUNT.api_version,
        "kind": names.SERVICEACCOUNT.kind,
        "metadata": metadata(instance, name=names.account_name(instance.metadata.name)),
        "automountServiceAccountToken": False,
    }
