"""SDInstance: one Stable Diffusion service."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator.api.base import Model, ObjectMeta
from sd_operator.api.conditions import Condition
from sd_operator.api.kubernetes import (
    DNSLabel,
    LabelMap,
    LocalObjectReference,
    OpaqueObject,
    ResourceRequirements,
    Toleration,
)
from sd_operator.api.schema import list_map, rules


class ModelReference(Model):
    """A ModelBundle whose files the instance can use."""

    name: Annotated[DNSLabel, Field(description="Name of a ModelBundle of the same namespace.")]


class CheckpointReference(Model):
    """The checkpoint to serve."""

    bundle: Annotated[DNSLabel, Field(description="Name of the ModelBundle; it must be in spec.models.")]
    file: Annotated[DNSLabel, Field(description="Name of the file within the bundle.")]


class Gpu(Model):
    """How the pods get to a GPU."""

    backend: Annotated[
        Literal["Whole", "None"],
        Field(
            description="Whole asks for one `nvidia.com/gpu` a pod and tolerates the taint of that name; "
            "None computes on the CPU. Default: Whole."
        ),
    ] = "Whole"


class Service(Model):
    """The Service in front of the pods."""

    type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer"],
        Field(description="Type of the Service. Default: ClusterIP."),
    ] = "ClusterIP"


class Access(Model):
    """Who may use the service, and how they reach it."""

    auth: Annotated[
        Literal["Required", "Disabled"],
        Field(
            description="Required asks every request for the user name and password in authSecretRef; "
            "Disabled lets everybody in who reaches the Service. Default: Required."
        ),
    ] = "Required"
    auth_secret_ref: Annotated[
        LocalObjectReference | None,
        Field(
            description="Secret of type kubernetes.io/basic-auth (username, password). The kubelet mounts "
            "it; the operator never reads it. Needed when auth is Required, and refused when it is Disabled."
        ),
    ] = None
    service: Annotated[Service, Field(description="The Service in front of the pods.")] = Service()


class SDInstanceSpec(Model):
    """What the user wants."""

    replicas: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="Number of pods; an autoscaler may set it through /scale. 0 stops the service and "
            "counts as Ready. Default: 1.",
        ),
    ] = 1
    image: Annotated[
        str | None,
        Field(
            min_length=1, max_length=512, description="Image of the runtime. Default: the operator's setting."
        ),
    ] = None
    models: Annotated[
        tuple[ModelReference, ...],
        Field(
            min_length=1,
            max_length=16,
            description="ModelBundles whose volumes the pods mount, read-only.",
            json_schema_extra=list_map("name"),
        ),
    ]
    checkpoint: Annotated[
        CheckpointReference, Field(description="The checkpoint that is loaded at start and served.")
    ]
    gpu: Annotated[Gpu, Field(description="How the pods get to a GPU.")] = Gpu()
    access: Annotated[
        Access,
        Field(
            description="Who may use the service, and how they reach it.",
        ),
    ] = Access()
    resources: Annotated[
        ResourceRequirements | None,
        Field(
            description="Resources of the runtime's container. Default: requests of 250m CPU and of memory "
            "computed from the size of the checkpoint; the GPU comes from spec.gpu."
        ),
    ] = None
    node_selector: Annotated[
        LabelMap | None, Field(description="Labels of the nodes to run on. Default: any node.")
    ] = None
    tolerations: Annotated[
        tuple[Toleration, ...] | None,
        Field(
            max_length=32,
            description="Taints that the pods tolerate, besides that of the GPU. Default: none.",
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = None
    affinity: Annotated[
        OpaqueObject | None, Field(description="Affinity of the pods, as in a Pod. Default: none.")
    ] = None
    runtime_class_name: Annotated[
        str | None,
        Field(
            max_length=253, description="RuntimeClass of the pods, such as nvidia. Default: the node's own."
        ),
    ] = None
    image_pull_secrets: Annotated[
        tuple[LocalObjectReference, ...] | None,
        Field(
            max_length=16,
            description="Secrets that the kubelet pulls the image with. Default: none.",
            json_schema_extra=list_map("name"),
        ),
    ] = None


SPEC_RULES = rules(
    (
        "self.models.exists(model, model.name == self.checkpoint.bundle)",
        "checkpoint.bundle must be one of models",
    ),
    (
        "self.access.auth == 'Disabled' || has(self.access.authSecretRef)",
        "access.authSecretRef is needed when access.auth is Required: name a Secret of type "
        "kubernetes.io/basic-auth, or set auth to Disabled",
    ),
    (
        "self.access.auth == 'Required' || !has(self.access.authSecretRef)",
        "access.authSecretRef has no meaning when access.auth is Disabled: remove it, or set auth to "
        "Required",
    ),
)


class CheckpointStatus(Model):
    """A checkpoint that pods hold."""

    file: Annotated[str, Field(max_length=512, description="`<bundle>/<file>` of the checkpoint.")]
    sha256: Annotated[str, Field(max_length=64, description="Digest that the runtime computed when loading.")]


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


class AccelerationStatus(Model):
    """What the pods compute on."""

    device: Annotated[str, Field(max_length=64, description="cuda or cpu, as the runtime reports it.")]
    name: Annotated[str, Field(max_length=256, description="The device's own name.")]


class SDInstanceStatus(Model):
    """What the operator sees."""

    observed_generation: Annotated[
        int, Field(description="Generation that the status speaks about; -1 until the operator has looked.")
    ] = -1
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16,
            description="Ready, Reconciling and Stalled, in the sense of kstatus.",
            json_schema_extra=list_map("type"),
        ),
    ] = ()
    replicas: Annotated[int, Field(ge=0, description="Pods that exist; read by /scale.")] = 0
    selector: Annotated[
        str | None, Field(max_length=512, description="Label selector of the pods; read by /scale.")
    ] = None
    endpoint: Annotated[
        str | None, Field(max_length=512, description="Address of the service inside the cluster.")
    ] = None
    models: Annotated[ModelsStatus | None, Field(description="What the pods say they hold.")] = None
    acceleration: Annotated[
        AccelerationStatus | None,
        Field(description="What the pods compute on; absent until one reports it."),
    ] = None


class SDInstance(Model):
    """A Stable Diffusion service: a Deployment of the runtime, and a Service in front of it."""

    metadata: ObjectMeta
    spec: Annotated[SDInstanceSpec, Field(description="What the user wants.", json_schema_extra=SPEC_RULES)]
    status: Annotated[SDInstanceStatus, Field(description="What the operator sees.")] = SDInstanceStatus()
