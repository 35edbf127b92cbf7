"""SDInstance.spec.outputs: the volume that pictures are saved on."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.kubernetes import ObjectName
from sd_operator.api.schema import rules
from sd_operator.quantity import PATTERN


class Outputs(Model):
    """A PersistentVolumeClaim named `<instance>-outputs`, shared by all pods of the instance."""

    size: Annotated[
        str,
        Field(
            max_length=64,
            pattern=PATTERN,
            description="Size to ask for, a quantity. It may grow where the storage class expands volumes.",
            json_schema_extra=rules(
                (
                    "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                    "size must be a quantity above zero, such as 10Gi",
                ),
            ),
        ),
    ]
    storage_class_name: Annotated[
        ObjectName | None,
        Field(description="Storage class. Default: the cluster's default. Cannot be changed later."),
    ] = None
    access_modes: Annotated[
        tuple[Literal["ReadWriteOnce", "ReadWriteMany"], ...],
        Field(
            min_length=1,
            max_length=2,
            description="How nodes may mount the volume. ReadWriteOnce allows one pod only, and no Surge. "
            "Default: [ReadWriteOnce]. Cannot be changed later.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ("ReadWriteOnce",)
    reclaim_policy: Annotated[
        Literal["Retain", "Delete"],
        Field(
            description="What becomes of the pictures when the SDInstance is deleted: Retain leaves the "
            "claim, Delete gives it to the garbage collector. Default: Retain."
        ),
    ] = "Retain"
    retention_days: Annotated[
        int | None,
        Field(
            ge=1,
            le=36500,
            description="Days after which the folders of a day's pictures are deleted by the pods. Default: "
            "never.",
        ),
    ] = None

    @property
    def shared(self) -> bool:
        """Whether pods of several nodes can mount it."""
        return "ReadWriteMany" in self.access_modes


OUTPUTS_RULES = rules(
    (
        "has(self.storageClassName) == has(oldSelf.storageClassName) && "
        "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        "outputs.storageClassName cannot be changed: the volume exists; make another SDInstance",
    ),
    (
        "self.accessModes == oldSelf.accessModes",
        "outputs.accessModes cannot be changed: the volume exists; make another SDInstance",
    ),
)
