"""The kinds of GPU that a cluster may have, as its administrator says: the table that pods' GPUs come from.

A profile tells how a pod asks for one device of a kind, and how much memory the largest device of it has.
Data only: knows neither which of them a cluster offers today, nor what an instance needs.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from sd_operator import names, quantity

_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_QUALIFIED: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_TOLERATION: Final = frozenset({"key", "operator", "value", "effect", "tolerationSeconds"})


def amount(text: str) -> str:
    """The quantity itself, where it is one above zero."""
    if not (quantity.parse(text) or 0) > 0:
        raise ValueError("it must be a quantity above zero, such as 8Gi")
    return text


def bytes_of(text: str) -> int:
    """A quantity in bytes, as the API server keeps it; zero for what is none."""
    return int(quantity.stored(text) or 0)


def _toleration(given: dict[str, str | int]) -> dict[str, str | int]:
    unknown = sorted(given.keys() - _TOLERATION)
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} is no field of a toleration: {', '.join(sorted(_TOLERATION))}"
        )
    return given


Amount = Annotated[str, Field(max_length=64), AfterValidator(amount)]
Subdomain = Annotated[str, Field(max_length=253, pattern=f"^{_SUBDOMAIN}$")]
ExtendedResource = Annotated[str, Field(max_length=316, pattern=f"^{_SUBDOMAIN}/{_QUALIFIED}$")]
LabelKey = Annotated[str, Field(max_length=316, pattern=f"^({_SUBDOMAIN}/)?{_QUALIFIED}$")]
LabelValue = Annotated[str, Field(max_length=63)]
#: In the form of a pod's tolerations.
Toleration = Annotated[dict[str, str | int], AfterValidator(_toleration)]


class _Kind(BaseModel):
    """What the profiles of all backends share. A misspelt field is refused: it would say nothing."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    #: A DNS label; shown in status.vram.
    name: Annotated[str, Field(max_length=63, pattern=names.LABEL_PATTERN)]
    #: Memory of the largest device of this kind: what needs more than it is refused.
    memory: Amount
    node_selector: dict[LabelKey, LabelValue] = {}
    tolerations: tuple[Toleration, ...] = ()
    runtime_class_name: Subdomain | None = None

    @property
    def capacity(self) -> int:
        """The memory in bytes."""
        return bytes_of(self.memory)


class Whole(_Kind):
    """One whole GPU, counted by a device plugin."""

    backend: Literal["Whole"]
    resource: ExtendedResource = "nvidia.com/gpu"
    #: Label of nodes that tells the memory of their GPUs in MiB. Absent: every node is trusted.
    memory_label: LabelKey | None = None


class Mig(_Kind):
    """One MIG slice, counted by a device plugin."""

    backend: Literal["MIG"]
    resource: ExtendedResource


class Dra(_Kind):
    """A device that is claimed by its memory through Dynamic Resource Allocation."""

    backend: Literal["DRA"]
    device_class: Subdomain = "gpu.nvidia.com"
    #: The driver, under whose name devices publish their capacity `memory`.
    driver: Subdomain = "gpu.nvidia.com"


Profile = Whole | Mig | Dra

_ONE: Final[TypeAdapter[Profile]] = TypeAdapter(Annotated[Profile, Field(discriminator="backend")])


def parse_profiles(given: Any) -> tuple[Profile, ...]:
    """A table from JSON or its parts, the built-in for an empty one; a ValueError names fields and values."""
    items = _decoded(given)
    if not isinstance(items, list | tuple):
        raise ValueError(f"it must be a JSON list of profiles (got {_shown(given)})")
    table, wrong = [], []
    for index, item in enumerate(items):
        try:
            table.append(_ONE.validate_python(item))
        except ValidationError as error:
            wrong += [_sentence(index, detail) for detail in error.errors()]
    often = Counter(profile.name for profile in table)
    wrong += [f"name {name!r} is used by {count} profiles" for name, count in often.items() if count > 1]
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(table) or TABLE


def parse_family_memory(given: Any) -> dict[str, str]:
    """Memory by family, from JSON or as it is; a ValueError names family and value."""
    items = _decoded(given)
    if not isinstance(items, Mapping):
        raise ValueError(f"it must be a JSON object such as {{'SDXL': '8Gi'}} (got {_shown(given)})")
    for family, memory in items.items():
        if not isinstance(memory, str) or not (quantity.parse(memory) or 0) > 0:
            raise ValueError(
                f"{family}: it must be a quantity above zero, such as 8Gi (got {_shown(memory)})"
            )
    return dict(items)


def parse_headroom(given: str) -> str:
    """A quantity, which may be zero."""
    value = quantity.parse(given)
    if value is None or value < 0:
        raise ValueError(f"it must be a quantity, such as 512Mi (got {_shown(given)})")
    return given


def _decoded(given: Any) -> Any:
    try:
        return json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ValueError(f"it must be JSON: {error} (got {_shown(given)})") from error


def _sentence(index: int, detail: Mapping[str, Any]) -> str:
    # The first part of the place is the backend, by which the kind of profile was told.
    path = f"[{index}]"
    for part in detail["loc"][1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return f"{path}: {detail['msg'].removeprefix('Value error, ')} (got {_shown(detail['input'])})"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_TAINT: Final[dict[str, str | int]] = {"key": "nvidia.com/gpu", "operator": "Exists"}

#: GiB that a slice really has: less than its name says, and not the same on every GPU and driver. The least
#: that `nvidia-smi mig -lgip` was seen to print.
#: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/
_SLICES: Final = {
    "1g.5gb": "4.75",  # A100 40 GB
    "1g.6gb": "5.75",  # A30
    "1g.10gb": "9.5",  # A100 40 GB and 80 GB, H100
    "2g.10gb": "9.5",
    "1g.12gb": "10.75",  # H100 NVL
    "2g.12gb": "11.5",  # A30
    "1g.18gb": "16",  # H200
    "1g.20gb": "19.5",  # A100 80 GB, H100
    "2g.20gb": "19.5",
    "3g.20gb": "19.5",  # A100 40 GB
    "4g.20gb": "19.5",
    "1g.23gb": "20.5",  # B200, GB200
    "1g.24gb": "20",  # H100 NVL, GB200
    "2g.24gb": "21.5",
    "4g.24gb": "23.25",  # A30
    "1g.35gb": "32.25",  # H200
    "2g.35gb": "32.25",
    "3g.40gb": "39.25",  # A100 80 GB, H100
    "4g.40gb": "39.25",
    "7g.40gb": "39.25",  # A100 40 GB
    "1g.45gb": "44.25",  # B200
    "2g.45gb": "44.25",
    "3g.71gb": "69.5",  # H200
    "4g.71gb": "69.5",
    "7g.80gb": "78.75",  # A100 80 GB, H100
    "7g.141gb": "139",  # H200: two halves of 69.5 fit
}

#: The built-in table: NVIDIA's GPUs under the names of its own device plugin and DRA driver.
TABLE: Final[tuple[Profile, ...]] = (
    Whole(
        name="nvidia-gpu",
        backend="Whole",
        # B200, the largest GPU of today that a picture would be made on.
        memory="192Gi",
        memory_label="nvidia.com/gpu.memory",
        tolerations=(_TAINT,),
    ),
    *(
        Mig(
            name=f"nvidia-mig-{name.replace('.', '-')}",
            backend="MIG",
            resource=f"nvidia.com/mig-{name}",
            memory=f"{gib}Gi",
            tolerations=(_TAINT,),
        )
        for name, gib in _SLICES.items()
    ),
    Dra(name="nvidia-dra", backend="DRA", memory="192Gi", tolerations=(_TAINT,)),
)

#: What a checkpoint of a family needs with its activations; other families need UNKNOWN_FAMILY.
FAMILY_MEMORY: Final[Mapping[str, str]] = {"SD15": "4Gi", "SD21": "4Gi", "SDXL": "8Gi", "SDXLRefiner": "8Gi"}
UNKNOWN_FAMILY: Final = "8Gi"
#: What CUDA itself takes in every process.
HEADROOM: Final = "512Mi"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """What the operator's settings say about GPUs."""

    profiles: tuple[Profile, ...] = TABLE
    headroom: str = HEADROOM
    family_memory: Mapping[str, str] = field(default_factory=lambda: FAMILY_MEMORY)
