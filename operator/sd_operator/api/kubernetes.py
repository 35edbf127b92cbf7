"""Fields that go into a child unchanged, in Kubernetes' own words.

The API server judges their content when the child is applied; what it refuses is shown in the conditions.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from sd_operator import quantity
from sd_operator.api.base import Model
from sd_operator.names import LABEL_PATTERN

ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
Quantity = Annotated[
    str | int,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": quantity.PATTERN,
            "maxLength": 64,
        }
    ),
]
QuantityMap = Annotated[dict[str, Quantity], Field(max_length=16)]


class LocalObjectReference(Model):
    """Another object of the same namespace, by name."""

    name: Annotated[ObjectName, Field(description="Name of the object; it is in the same namespace.")]


class ResourceRequirements(Model):
    """Container resources."""

    limits: Annotated[
        QuantityMap | None,
        Field(description="The most the container may use, by resource name. Default: none."),
    ] = None
    requests: Annotated[
        QuantityMap | None,
        Field(description="What the scheduler sets aside, by resource name. Default: limits where given."),
    ] = None


class Toleration(Model):
    """A taint that the pods tolerate."""

    key: Annotated[
        str | None, Field(max_length=316, description="Taint key. Default: every key, with operator Exists.")
    ] = None
    operator: Annotated[
        Literal["Exists", "Equal", "Lt", "Gt"] | None,
        Field(description="How key and value are compared. Default: Equal."),
    ] = None
    value: Annotated[str | None, Field(max_length=63, description="Taint value. Default: empty.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        Field(description="Taint effect. Default: every effect."),
    ] = None
    toleration_seconds: Annotated[
        int | None,
        Field(ge=0, le=2**31, description="Seconds to stay after a NoExecute taint. Default: for ever."),
    ] = None


class KeySelector(Model):
    """One entry of a Secret or ConfigMap of the same namespace."""

    name: Annotated[ObjectName, Field(description="Name of the object.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="Key of the entry.")]
    optional: Annotated[
        bool | None,
        Field(description="Whether the pod starts without it. Default: false, it waits for the object."),
    ] = None


class EnvVarSource(Model):
    """Where the value of an environment variable comes from."""

    secret_key_ref: Annotated[
        KeySelector | None,
        Field(description="An entry of a Secret; the kubelet reads it, the operator does not."),
    ] = None
    config_map_key_ref: Annotated[KeySelector | None, Field(description="An entry of a ConfigMap.")] = None


class EnvVar(Model):
    """An environment variable of the runtime's container."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            description="Name of the variable.",
        ),
    ]
    value: Annotated[str | None, Field(max_length=32768, description="Its value. Default: empty.")] = None
    value_from: Annotated[
        EnvVarSource | None, Field(description="Where the value comes from, instead of value.")
    ] = None


DNSLabel = Annotated[str, Field(max_length=63, pattern=LABEL_PATTERN)]
LabelMap = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(max_length=32),
]
AnnotationMap = Annotated[
    dict[str, Annotated[str, Field(max_length=16384)]],
    Field(max_length=64),
]
#: Too large and too lively to be copied into our schema.
OpaqueObject = Annotated[
    dict[str, Any], Field(json_schema_extra={"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]
