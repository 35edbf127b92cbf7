"""The volume claim that an instance's pictures are kept on. Pure.

It outlives the instance unless the spec says otherwise; the next one of that name finds the pictures again.
"""

from sd_operator import claims, names
from sd_operator.api.instance import SDInstance
from sd_operator.api.outputs import Outputs
from sd_operator.instance.children.metadata import OUTPUTS, metadata
from sd_operator.manifests import Object


def build_outputs_claim(instance: SDInstance, outputs: Outputs, *, size: str) -> Object:
    """The claim, of the size that `size_to_ask` or the claim that lives has."""
    return {
        "apiVersion": names.CLAIM.api_version,
        "kind": names.CLAIM.kind,
        "metadata": metadata(
            instance,
            name=names.outputs_name(instance.metadata.name),
            component=OUTPUTS,
            owned=outputs.reclaim_policy == "Delete",
        ),
        "spec": claims.claim_spec(
            size=size, access_modes=outputs.access_modes, storage_class_name=outputs.storage_class_name
        ),
    }


def size_to_ask(outputs: Outputs, live: Object | None) -> str:
    """The size of the spec, but no smaller than the claim that lives."""
    return claims.size_to_ask(outputs.size, live)


def size_note(outputs: Outputs, asked: str) -> str | None:
    """What is said of a spec that asks for less than the volume has."""
    return claims.size_note("spec.outputs.size", outputs.size, asked)
