"""SDInstance: one Stable Diffusion service."""

from typing import Annotated, Any

from pydantic import Field

from sd_operator import names
from sd_operator.api.access import Access
from sd_operator.api.base import Model, ObjectMeta
from sd_operator.api.gpu import GPU_RULES, Gpu
from sd_operator.api.instance_plugins import MAX_PLUGINS, PluginReference
from sd_operator.api.instance_status import SDInstanceStatus
from sd_operator.api.kubernetes import (
    AnnotationMap,
    DNSLabel,
    EnvVar,
    LabelMap,
    LocalObjectReference,
    OpaqueObject,
    ResourceRequirements,
    Toleration,
)
from sd_operator.api.outputs import OUTPUTS_RULES, Outputs
from sd_operator.api.rollout import Rollout, Strategy
from sd_operator.api.schema import list_map, rules

#: The runtime knows which options there are, and which values they take.
OptionMap = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra={
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "maxProperties": 64,
        }
    ),
]


class ModelReference(Model):
    """A ModelBundle whose files the instance can use."""

    name: Annotated[DNSLabel, Field(description="Name of a ModelBundle of the same namespace.")]


class CheckpointReference(Model):
    """The checkpoint to serve."""

    bundle: Annotated[DNSLabel, Field(description="Name of the ModelBundle; it must be in spec.models.")]
    file: Annotated[DNSLabel, Field(description="Name of the file within the bundle.")]


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
    suspend: Annotated[
        bool,
        Field(
            description="True leaves the Deployment and everything else of the instance as it is: pods go "
            "on serving, the status goes on telling, edits of the spec wait. Default: false."
        ),
    ] = False
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
        CheckpointReference,
        Field(
            description="The checkpoint that is served. A change is applied to running pods, between two "
            "requests, unless the pods need other resources for it."
        ),
    ]
    plugins: Annotated[
        tuple[PluginReference, ...],
        Field(
            max_length=MAX_PLUGINS,
            description="SDPlugins whose containers run beside the runtime's in every pod. Default: none.",
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    options: Annotated[
        OptionMap | None,
        Field(
            description="Options by the names of A1111's settings, such as CLIP_stop_at_last_layers; they "
            "are the defaults of every pod and are applied to running pods. One that the runtime does not "
            "serve is named in the Ready condition. Default: the runtime's."
        ),
    ] = None
    gpu: Annotated[Gpu, Field(description="How the pods get to a GPU.", json_schema_extra=GPU_RULES)] = Gpu()
    outputs: Annotated[
        Outputs | None,
        Field(
            description="A volume for the pictures that are saved. Default: they are kept in the pod and go "
            "with it.",
            json_schema_extra=OUTPUTS_RULES,
        ),
    ] = None
    rollout: Annotated[Rollout, Field(description="How pods are replaced.")] = Rollout()
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
            description="Secrets of the namespace that the kubelet pulls the pods' images with, the plugins' "
            "among them, besides those of the operator's settings. Default: none besides.",
            json_schema_extra=list_map("name"),
        ),
    ] = None
    pod_labels: Annotated[
        LabelMap | None,
        Field(
            description="Labels of the pods, such as kueue.x-k8s.io/queue-name. Default: none.",
            json_schema_extra=rules(
                (
                    "self.all(key, !key.startsWith('sdoperator.dev/') && !(key in ['app.kubernetes.io/name', "
                    "'app.kubernetes.io/instance', 'app.kubernetes.io/managed-by', "
                    "'app.kubernetes.io/component']))",
                    "podLabels must not set labels of the operator: those under sdoperator.dev/ and "
                    "app.kubernetes.io/ name, instance, managed-by and component",
                ),
            ),
        ),
    ] = None
    pod_annotations: Annotated[
        AnnotationMap | None,
        Field(
            description="Annotations of the pods. Default: none.",
            json_schema_extra=rules(
                (
                    "self.all(key, !key.startsWith('sdoperator.dev/'))",
                    "podAnnotations must not set annotations of the operator, those under sdoperator.dev/",
                ),
            ),
        ),
    ] = None
    env: Annotated[
        tuple[EnvVar, ...] | None,
        Field(
            max_length=64,
            description="Further environment variables of the runtime's container. Default: none.",
            json_schema_extra={
                **list_map("name"),
                **rules(
                    (
                        f"self.all(item, !(item.name in {sorted(names.OWN_VARIABLES)}))",
                        "env must not set a variable that the operator sets: "
                        + ", ".join(sorted(names.OWN_VARIABLES)),
                    ),
                    (
                        "self.all(item, !(has(item.value) && has(item.valueFrom)))",
                        "env: give value or valueFrom, not both",
                    ),
                ),
            },
        ),
    ] = None

    @property
    def strategy(self) -> Strategy:
        """How pods are replaced: as asked for, else as the outputs allow."""
        if self.rollout.strategy is not None:
            return self.rollout.strategy
        return "Surge" if self.outputs is None or self.outputs.shared else "Drain"


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
    (
        "!has(self.outputs) || 'ReadWriteMany' in self.outputs.accessModes || self.replicas <= 1",
        "replicas above 1 need outputs.accessModes ReadWriteMany: the pods may be on different nodes",
    ),
    (
        "!has(self.outputs) || 'ReadWriteMany' in self.outputs.accessModes || !has(self.rollout.strategy) || "
        "self.rollout.strategy != 'Surge'",
        "rollout.strategy Surge needs outputs.accessModes ReadWriteMany: the old and the new pod mount the "
        "volume at the same time; use Drain or Recreate",
    ),
)


class SDInstance(Model):
    """A Stable Diffusion service: a Deployment of the runtime, and a Service in front of it."""

    metadata: ObjectMeta
    spec: Annotated[SDInstanceSpec, Field(description="What the user wants.", json_schema_extra=SPEC_RULES)]
    status: Annotated[SDInstanceStatus, Field(description="What the operator sees.")] = SDInstanceStatus()
