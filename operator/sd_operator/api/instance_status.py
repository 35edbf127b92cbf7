"""SDInstance.status: what the operator sees."""

from typing import Annotated

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.conditions import ConditionedStatus
from sd_operator.api.instance_plugins import MAX_PLUGINS, PluginStatus
from sd_operator.api.schema import list_map


class CheckpointStatus(Model):
    """A checkpoint that pods hold."""

    file: Annotated[str, Field(max_length=512, description="`<bundle>/<file>` of the checkpoint.")]
    sha256: Annotated[str, Field(max_length=64, description="Digest that the runtime computed when loading.")]


class FilesStatus(Model):
    """Files of the bundles besides the checkpoint, which the pods can use."""

    desired: Annotated[int, Field(ge=0, description="Verified files of spec.models.")]
    loaded: Annotated[
        int, Field(ge=0, description="Those of them that every serving pod lists with the same digest.")
    ]


class ModelsStatus(Model):
    """What the pods say they hold."""

    desired: Annotated[int, Field(ge=0, description="Replicas that should hold the checkpoint.")]
    loaded: Annotated[
        int, Field(ge=0, description="Replicas that report the checkpoint's digest as resident.")
    ]
    checkpoint: Annotated[
        CheckpointStatus | None,
        Field(description="The checkpoint that the replicas report; absent while none does."),
    ] = None
    files: Annotated[
        FilesStatus | None,
        Field(description="The other files of the bundles; absent while no pod serves."),
    ] = None


class AccelerationStatus(Model):
    """What the pods compute on."""

    device: Annotated[str, Field(max_length=64, description="cuda or cpu, as the runtime reports it.")]
    name: Annotated[str, Field(max_length=256, description="The device's own name.")]


class VramPart(Model):
    """One part of the need."""

    name: Annotated[str, Field(max_length=64, description="What needs it.")]
    memory: Annotated[str, Field(max_length=64, description="How much, a quantity.")]


class VramStatus(Model):
    """The GPU memory that one pod asks for, and the way it gets it."""

    requested: Annotated[str, Field(max_length=64, description="Memory of one pod, a quantity.")]
    breakdown: Annotated[
        tuple[VramPart, ...],
        Field(
            max_length=32,
            description="What it is made of.",
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    backend: Annotated[str, Field(max_length=16, description="Whole, MIG or DRA: what Auto has chosen.")]
    profile: Annotated[
        str, Field(max_length=63, description="Profile of the operator's settings that is asked for.")
    ]


class StartupStatus(Model):
    """How long the oldest serving pod took to start, in whole seconds, rounded up."""

    schedule_seconds: Annotated[
        int | None, Field(ge=0, description="From the pod's creation until it had a node.")
    ] = None
    image_seconds: Annotated[
        int | None,
        Field(ge=0, description="From then until its container ran: volumes, network, the image."),
    ] = None
    load_seconds: Annotated[int | None, Field(ge=0, description="Loading of the checkpoint.")] = None
    warm_up_seconds: Annotated[int | None, Field(ge=0, description="The warm-up picture.")] = None


class SDInstanceStatus(ConditionedStatus):
    """What the operator sees."""

    replicas: Annotated[int, Field(ge=0, description="Pods that exist; read by /scale.")] = 0
    selector: Annotated[
        str | None, Field(max_length=512, description="Label selector of the pods; read by /scale.")
    ] = None
    endpoint: Annotated[
        str | None, Field(max_length=512, description="Address of the service inside the cluster.")
    ] = None
    models: Annotated[ModelsStatus | None, Field(description="What the pods say they hold.")] = None
    plugins: Annotated[
        tuple[PluginStatus, ...] | None,
        Field(
            max_length=MAX_PLUGINS,
            description="What the pods say of the plugins in spec.plugins.",
            json_schema_extra=list_map("name"),
        ),
    ] = None
    acceleration: Annotated[
        AccelerationStatus | None,
        Field(description="What the pods compute on; absent until one reports it."),
    ] = None
    vram: Annotated[
        VramStatus | None,
        Field(description="The GPU memory of one pod; absent with backend None."),
    ] = None
    startup: Annotated[
        StartupStatus | None,
        Field(description="How long the start took; absent until a pod serves."),
    ] = None
