"""The pod of every Job that touches a bundle's volume. Pure.

It knows no Kubernetes: no token, what to do in the environment, what became of it in the termination message.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sd_operator import claims, names
from sd_operator.api.bundle import ModelBundle
from sd_operator.bundle.placement import Placement
from sd_operator.gpu_profiles import GpuSettings
from sd_operator.manifests import (
    Object,
    container_security,
    labels,
    owner_reference,
    pod_security,
    pull_secrets,
)

CONTAINER = "fetch"
#: Of a pod that another one of the same Job would do no better than: for good, or until a time that it names.
EXIT_PERMANENT, EXIT_LATER = 2, 3
RETRIES = 4
ROOT = "/volume"
RESOURCES: Object = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """What the operator's settings say about these pods."""

    image: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...] = ()
    hf_endpoint: str
    civitai_endpoint: str = "https://civitai.com"
    #: Networks (CIDR) that may be connected to although they are refused, and that are refused besides the
    #: usual ones.
    allowed_networks: tuple[str, ...] = ()
    refused_networks: tuple[str, ...] = ()
    gpu: GpuSettings = field(default_factory=GpuSettings)
    #: Whose SDPlugins every SDInstance may use; their bundles have users by them.
    catalog_namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one Job is for."""

    name: str
    component: str
    command: Sequence[str]
    env: Sequence[Object]
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    ports: Sequence[Object] = ()
    volumes: Sequence[Object] = ()
    mounts: Sequence[Object] = ()


def build(
    bundle: ModelBundle, work: Work, *, exclusive: bool, placement: Placement, settings: FetchSettings
) -> Object:
    """The Job; `exclusive`: only one node can mount the bundle's volume."""
    owner = bundle.metadata.name
    all_labels = labels(
        app="sd-bundle",
        owner=owner,
        component=work.component,
        extra={names.LABEL_SD_BUNDLE: owner, **work.labels},
    )
    shared = [bundle.claim_name] if exclusive else []
    return {
        "apiVersion": names.JOB.api_version,
        "kind": names.JOB.kind,
        "metadata": {
            "name": work.name,
            "namespace": bundle.metadata.namespace,
            "labels": all_labels,
            "annotations": dict(work.annotations),
            "ownerReferences": [owner_reference(names.MODELBUNDLE, name=owner, uid=bundle.metadata.uid)],
        },
        "spec": {
            "backoffLimit": RETRIES,
            # Said although they are the defaults: what is left out stays as somebody else set it.
            "parallelism": 1,
            "suspend": False,
            # Two pods must never write one file: the next starts when the last has ended.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                "metadata": {"labels": {**all_labels, **claims.mount_labels(shared)}},
                "spec": _pod_spec(bundle, work, shared, placement, settings),
            },
        },
    }


def _failure_rules() -> list[Object]:
    return [
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": CONTAINER,
                "operator": "In",
                "values": [EXIT_PERMANENT, EXIT_LATER],
            },
        },
        # A drained node is no fault of the file's.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _pod_spec(
    bundle: ModelBundle, work: Work, shared: list[str], placement: Placement, settings: FetchSettings
) -> Object:
    options = bundle.spec.fetch
    # To the node where the volume is in use: by pods that serve, or by another fetch.
    affinity = claims.beside(placement.affinity, shared)
    pod: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "containers": [_container(bundle, work, settings)],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": bundle.claim_name}},
            {"name": "tmp", "emptyDir": {}},
            *work.volumes,
        ],
    }
    if affinity:
        pod["affinity"] = affinity
    if placement.node_selector:
        pod["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        pod["tolerations"] = list(placement.tolerations)
    if secrets := pull_secrets(options.image_pull_secrets, settings.image_pull_secrets):
        pod["imagePullSecrets"] = secrets
    return pod


def _container(bundle: ModelBundle, work: Work, settings: FetchSettings) -> Object:
    given = bundle.spec.fetch.resources
    return {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": list(work.command),
        "env": [*work.env, {"name": "SD_FETCH_ROOT", "value": ROOT}],
        **({"ports": list(work.ports)} if work.ports else {}),
        "resources": given.as_manifest() if given is not None else RESOURCES,
        "securityContext": container_security(),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "models", "mountPath": ROOT},
            {"name": "tmp", "mountPath": "/tmp"},
            *work.mounts,
        ],
    }
