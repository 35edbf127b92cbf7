"""The Deployment of an instance's pods. Pure.

What the pods serve is not in their template: they read it from a ConfigMap, and a change is sent to them. So
only what needs other pods (image, resources, GPU, volumes, …) replaces them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sd_operator import claims, names
from sd_operator.api.instance import SDInstance
from sd_operator.gpu_profiles import GpuSettings
from sd_operator.instance import gpu, plugins
from sd_operator.instance.children import gpu_pod, volumes
from sd_operator.instance.children.config import VOLUME
from sd_operator.instance.children.container import (
    CONTAINER,
    LEAVING_SECONDS,
    START_FAILURES,
    START_PERIOD_SECONDS,
    build_container,
)
from sd_operator.instance.children.metadata import metadata, pod_selector
from sd_operator.instance.children.plugins import build_sidecars, bundles, pod_volumes
from sd_operator.instance.children.volumes import Mounted
from sd_operator.instance.desired import Checkpoint
from sd_operator.instance.plugins import Plugin
from sd_operator.manifests import Object, pod_security, pull_secrets

#: Between the end of the runtime's own patience and the kubelet's.
MARGIN_SECONDS = 10
#: For a node to be made, and gigabytes of image to be pulled.
ARRIVAL_SECONDS = 1800
#: A container without probes is ready as soon as it runs: a pod whose plugin ends again and again looks ready
#: for moments, in which no pod of before must be ended for it.
STEADY_SECONDS = 10
#: By default the cluster autoscaler moves no pod that has a volume of its node's.
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"

STRATEGIES: dict[str, Object] = {
    # The old pod serves until the new one has loaded its checkpoint.
    "Surge": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    # The new pod gets what the old one held: a GPU, a volume.
    "Drain": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    "Recreate": {"type": "Recreate"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """What the operator's settings say about serving pods, and what finds them."""

    image: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...] = ()
    #: Those by which a Prometheus selects its ServiceMonitors.
    service_monitor_labels: Mapping[str, str] = field(default_factory=dict)
    gpu: GpuSettings = field(default_factory=GpuSettings)
    #: The namespace of the SDPlugins that every SDInstance may use; "": there is none.
    catalog_namespace: str = ""


def build_deployment(
    instance: SDInstance,
    *,
    allocation: gpu.Allocation | None,
    checkpoint: Checkpoint,
    exclusive: Collection[str],
    pickles: bool,
    claim_names: Mapping[str, str],
    token_sha256: str,
    settings: RuntimeSettings,
    added: Sequence[Plugin] = (),
) -> Object:
    """The Deployment.

    `checkpoint` matters only by its size, for the default memory; `exclusive` are the bundles whose volume is
    ReadWriteOnce; `pickles` lets the pods read files that are; `claim_names` tells the claims of bundles that
    have another than the one named after them; `added` are the plugins that run beside the runtime.
    """
    found = metadata(instance)
    if annotations := _annotations(allocation, added):
        found["annotations"] = annotations
    mounted = volumes.mounted(instance, gpu=allocation is not None, plugins=bool(added), claims=claim_names)
    container = build_container(
        instance,
        checkpoint,
        mounted,
        gpu=allocation is not None,
        pickles=pickles,
        plugins=added,
        image=instance.spec.image or settings.image,
        image_pull_policy=settings.image_pull_policy,
        token_sha256=token_sha256,
    )
    of_pod = _together(mounted, pod_volumes(added, claim_names))
    # Two bundles may be on one claim.
    mounts = [*(model.name for model in instance.spec.models), *bundles(added)]
    shared = list(dict.fromkeys(volumes.claim_of(name, claim_names) for name in mounts if name in exclusive))
    pod = _pod_spec(instance, container, of_pod, shared, settings.image_pull_secrets)
    if added:
        pod["initContainers"] = build_sidecars(
            added, claim_names, image_pull_policy=settings.image_pull_policy
        )
    if allocation is not None:
        pod = _onto_gpu(instance, pod, allocation)
    _name_config(instance, pod)
    return {
        "apiVersion": names.DEPLOYMENT.api_version,
        "kind": names.DEPLOYMENT.kind,
        "metadata": found,
        "spec": {
            "replicas": instance.spec.replicas,
            # Said although it is the default: what is left out stays as somebody else set it.
            "paused": False,
            "selector": {"matchLabels": pod_selector(instance)},
            "strategy": STRATEGIES[instance.spec.strategy],
            **({"minReadySeconds": STEADY_SECONDS} if added else {}),
            "progressDeadlineSeconds": _deadline(instance),
            "template": _template(instance, pod, of_pod, shared),
        },
    }


def _onto_gpu(instance: SDInstance, pod: Object, allocation: gpu.Allocation) -> Object:
    """The pod, asking for what it was allocated."""
    template = None
    if allocation.backend == "DRA":
        template = gpu_pod.build_claim_template(instance, allocation)["metadata"]["name"]
    return gpu_pod.onto_pod(pod, CONTAINER, allocation, template)


def _annotations(allocation: gpu.Allocation | None, added: Sequence[Plugin]) -> dict[str, str]:
    """What pods run that the next reconcile has to know."""
    annotations = {}
    if allocation is not None:
        annotations[names.ANNOTATION_GPU] = gpu.annotation(allocation)
    if added:
        annotations[names.ANNOTATION_PLUGINS] = plugins.annotation(added)
    return annotations


def _together(mounted: list[Mounted], more: list[Mounted]) -> list[Mounted]:
    """The volumes of the pod, each once."""
    known = {each.name for each in mounted}
    return [*mounted, *(each for each in more if each.name not in known)]


def _template(instance: SDInstance, pod: Object, mounted: list[Mounted], shared: list[str]) -> Object:
    spec = instance.spec
    scratch = ",".join(each.name for each in mounted if each.scratch)
    template: Object = {
        "metadata": {
            "labels": {
                **(spec.pod_labels or {}),
                **claims.mount_labels(shared),
                **metadata(instance)["labels"],
            },
            "annotations": {SAFE_TO_EVICT: scratch, **(spec.pod_annotations or {})},
        },
        "spec": pod,
    }
    template["metadata"]["annotations"][names.ANNOTATION_TEMPLATE] = names.digest(template)
    return template


def _pod_spec(
    instance: SDInstance,
    container: Object,
    mounted: list[Mounted],
    shared: list[str],
    default_secrets: Sequence[str],
) -> Object:
    spec = instance.spec
    pod: Object = {
        "serviceAccountName": names.account_name(instance.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(instance),
        "securityContext": pod_security(),
        # Said although they are the defaults, for the same reason.
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "nodeSelector": dict(spec.node_selector or {}),
        "containers": [container],
        "volumes": [each.volume() for each in mounted],
    }
    if spec.tolerations:
        pod["tolerations"] = [toleration.as_manifest() for toleration in spec.tolerations]
    affinity = claims.beside(spec.affinity or {}, shared)
    if affinity:
        pod["affinity"] = affinity
    if spec.runtime_class_name:
        pod["runtimeClassName"] = spec.runtime_class_name
    if secrets := pull_secrets(spec.image_pull_secrets, default_secrets):
        pod["imagePullSecrets"] = secrets
    return pod


def _name_config(instance: SDInstance, pod: Object) -> None:
    """Give the pod's ConfigMap its name, by all else that the pod is."""
    name = names.desired_name(instance.metadata.name, pod)
    volume = next(each for each in pod["volumes"] if each["name"] == VOLUME)
    volume["configMap"] = {"name": name, **volume["configMap"]}


def grace_seconds(instance: SDInstance) -> int:
    """How long a pod may take to end: the runtime stops by itself a little earlier."""
    return LEAVING_SECONDS + instance.spec.rollout.drain_timeout_seconds + MARGIN_SECONDS


def _deadline(instance: SDInstance) -> int:
    """The longest that a rollout which gets on may show no progress: an old pod drains, a new one loads."""
    return grace_seconds(instance) + ARRIVAL_SECONDS + START_PERIOD_SECONDS * START_FAILURES
