"""The volume that a bundle's files are kept on."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.kubernetes import ObjectName
from sd_operator.api.schema import rules
from sd_operator.quantity import PATTERN as QUANTITY_PATTERN


class BundleStorage(Model):
    """The volume claim that the files are kept on."""

    size: Annotated[
        str,
        Field(
            max_length=64,
            pattern=QUANTITY_PATTERN,
            description="Size to ask for, a quantity. It may grow where the storage class expands volumes. "
            "Where it cannot, and when it is made smaller, the volume stays as it is, the bundle works on "
            "with it, and Ready's message says so. Not looked at with existingClaim. Default: 20Gi.",
            json_schema_extra=rules(
                (
                    "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                    "size must be a quantity above zero, such as 20Gi",
                ),
            ),
        ),
    ] = "20Gi"
    storage_class_name: Annotated[
        str | None,
        Field(
            max_length=253,
            description="Storage class. Default: the cluster's default. Cannot be changed later.",
        ),
    ] = None
    access_modes: Annotated[
        tuple[Literal["ReadWriteOnce", "ReadWriteMany"], ...],
        Field(
            min_length=1,
            max_length=2,
            description="How nodes may mount the volume. ReadWriteOnce keeps every user of the bundle on one "
            "node. Not looked at with existingClaim. Default: [ReadWriteOnce]. Cannot be changed later.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ("ReadWriteOnce",)
    existing_claim: Annotated[
        ObjectName | None,
        Field(
            description="A PersistentVolumeClaim of the namespace that the operator did not make: files are "
            "fetched onto it beside what is there, several bundles may share it, and it is never changed or "
            "deleted. Default: the operator makes one. Cannot be changed later."
        ),
    ] = None
    reclaim_policy: Annotated[
        Literal["Retain", "Delete"],
        Field(
            description="Retain keeps the claim and its files when the bundle is deleted; a bundle of the "
            "same name finds them again. Delete deletes the claim with the bundle, once no SDInstance uses "
            "the bundle. Default: Retain."
        ),
    ] = "Retain"


STORAGE_RULES = rules(
    (
        "has(self.storageClassName) == has(oldSelf.storageClassName) && "
        "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        "storageClassName cannot be changed: the volume exists; make another ModelBundle",
    ),
    (
        "self.accessModes == oldSelf.accessModes",
        "accessModes cannot be changed: the volume exists; make another ModelBundle",
    ),
    (
        "has(self.existingClaim) == has(oldSelf.existingClaim) && "
        "(!has(self.existingClaim) || self.existingClaim == oldSelf.existingClaim)",
        "existingClaim cannot be changed: the files are on the volume; make another ModelBundle",
    ),
    (
        "!has(self.existingClaim) || (self.reclaimPolicy == 'Retain' && !has(self.storageClassName))",
        "existingClaim is used as it is and never deleted: reclaimPolicy must be Retain, and "
        "storageClassName must not be set",
    ),
)
