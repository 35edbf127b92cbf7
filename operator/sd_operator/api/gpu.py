"""SDInstance.spec.gpu: how the pods get to a GPU, and how much of its memory they need."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator import quantity
from sd_operator.api.base import Model
from sd_operator.api.schema import rules

Backend = Literal["Auto", "Whole", "MIG", "DRA", "None"]


class Gpu(Model):
    """How the pods get to a GPU."""

    backend: Annotated[
        Backend,
        Field(
            description="Whole asks for one GPU a pod, on a node whose GPUs are large enough; MIG for the "
            "smallest slice that is; DRA claims a device by its memory through Dynamic Resource Allocation; "
            "None computes on the CPU. Auto takes what the cluster offers, in the order DRA, MIG, Whole, and "
            "stays with it. Default: Auto."
        ),
    ] = "Auto"
    memory: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern=quantity.PATTERN,
            description="GPU memory that one pod needs, a quantity. Default: computed from the family of the "
            "checkpoint, and shown with its parts in status.vram.",
            json_schema_extra=rules(
                (
                    "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                    "memory must be a quantity above zero, such as 8Gi",
                ),
            ),
        ),
    ] = None


GPU_RULES = rules(
    (
        "self.backend != 'None' || !has(self.memory)",
        "gpu.memory has no meaning when gpu.backend is None: remove it, or choose another backend",
    ),
)
