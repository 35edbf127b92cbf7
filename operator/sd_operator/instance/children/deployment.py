"""The Deployment of an instance's pods. Pure.

Two GPU backends: `Whole` asks for one nvidia.com/gpu a pod, `None` computes on the CPU.
"""

from dataclasses import dataclass

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.checkpoint import Checkpoint
from sd_operator.manifests import Object, container_security, labels, owner_reference, pod_security

CONTAINER = "runtime"
GPU = "nvidia.com/gpu"
AUTH_PATH = "/etc/sd-runtime/auth"
OUTPUT_PATH = "/outputs"

#: Time to finish what was accepted before the pod is ended; the runtime stops by itself a little earlier.
GRACE_SECONDS = 120
DRAIN_SECONDS = GRACE_SECONDS - 10
#: Before SIGTERM, while requests still come: until every node knows that the pod has left the Service,
#: and until a process that was only just started hears the signal (a container's first one ignores it).
LEAVING_SECONDS = 3
#: A checkpoint of many gigabytes on slow storage may take this long to load.
START_PERIOD_SECONDS = 2
START_FAILURES = 900

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """What the operator's settings say about serving pods."""

    image: str
    image_pull_policy: str


def build_deployment(
    instance: SDInstance, checkpoint: Checkpoint, *, token_sha256: str, settings: RuntimeSettings
) -> Object:
    """The Deployment."""
    name = instance.metadata.name
    all_labels = labels(
        app="sd-instance", owner=name, component="runtime", extra={names.LABEL_SD_INSTANCE: name}
    )
    return {
        "apiVersion": names.DEPLOYMENT.api_version,
        "kind": names.DEPLOYMENT.kind,
        "metadata": {
            "name": name,
            "namespace": instance.metadata.namespace,
            "labels": all_labels,
            "ownerReferences": [owner_reference(names.SDINSTANCE, name=name, uid=instance.metadata.uid)],
        },
        "spec": {
            "replicas": instance.spec.replicas,
            # Said although it is the default: what is left out stays as somebody else set it.
            "paused": False,
            "selector": {"matchLabels": {names.LABEL_SD_INSTANCE: name}},
            "strategy": {
                "type": "RollingUpdate",
                # The old pod serves until the new one has loaded its checkpoint.
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {
                "metadata": {
                    "labels": all_labels,
                    "annotations": {names.ANNOTATION_CHECKPOINT: checkpoint.annotation()},
                },
                "spec": _pod_spec(instance, checkpoint, token_sha256, settings),
            },
        },
    }


def _pod_spec(
    instance: SDInstance, checkpoint: Checkpoint, token_sha256: str, settings: RuntimeSettings
) -> Object:
    spec = instance.spec
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(),
        # Empty rather than left out, for the same reason.
        "nodeSelector": dict(spec.node_selector or {}),
        "containers": [_container(instance, checkpoint, token_sha256, settings)],
        "volumes": _volumes(instance),
    }
    tolerations = [toleration.as_manifest() for toleration in spec.tolerations or ()]
    if spec.gpu.backend == "Whole":
        tolerations.append({"key": GPU, "operator": "Exists"})
    if tolerations:
        pod["tolerations"] = tolerations
    if spec.affinity:
        pod["affinity"] = spec.affinity
    if spec.runtime_class_name:
        pod["runtimeClassName"] = spec.runtime_class_name
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [secret.as_manifest() for secret in spec.image_pull_secrets]
    return pod


def _container(
    instance: SDInstance, checkpoint: Checkpoint, token_sha256: str, settings: RuntimeSettings
) -> Object:
    ready = {"httpGet": {"path": "/readyz", "port": "management"}, "timeoutSeconds": 5}
    return {
        "name": CONTAINER,
        "image": instance.spec.image or settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "sd_runtime"],
        "args": [],
        "env": _environment(instance, checkpoint, token_sha256),
        "ports": [
            {"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"},
            {"name": "management", "containerPort": names.MANAGEMENT_PORT, "protocol": "TCP"},
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVING_SECONDS}}},
        "startupProbe": {
            **ready,
            "periodSeconds": START_PERIOD_SECONDS,
            "failureThreshold": START_FAILURES,
        },
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "management"},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
        "resources": build_resources(instance, checkpoint),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *(
                {
                    "name": names.bundle_volume_name(model.name),
                    "mountPath": names.bundle_mount_path(model.name),
                    "readOnly": True,
                }
                for model in instance.spec.models
            ),
            {"name": "outputs", "mountPath": OUTPUT_PATH},
            {"name": "tmp", "mountPath": "/tmp"},
            *([{"name": "auth", "mountPath": AUTH_PATH, "readOnly": True}] if _has_auth(instance) else []),
        ],
    }


def _environment(instance: SDInstance, checkpoint: Checkpoint, token_sha256: str) -> list[Object]:
    spec = instance.spec
    roots = ":".join(names.bundle_mount_path(model.name) for model in spec.models)
    values = {
        # Libraries that insist on a home find it where the root is writable.
        "HOME": "/tmp",
        "SD_MODEL_ROOTS": roots,
        "SD_CHECKPOINT": f"{names.bundle_mount_path(checkpoint.bundle)}/{checkpoint.path}",
        # Never auto: a GPU that was asked for and cannot be used is an error, not a slow service.
        "SD_DEVICE": "cuda" if spec.gpu.backend == "Whole" else "cpu",
        "SD_OUTPUT_DIR": OUTPUT_PATH,
        "SD_AUTH": spec.access.auth.lower(),
        "SD_MANAGEMENT_TOKEN_SHA256": token_sha256,
        "SD_DRAIN_SECONDS": str(DRAIN_SECONDS),
    }
    if _has_auth(instance):
        values["SD_AUTH_DIR"] = AUTH_PATH
    return [{"name": name, "value": value} for name, value in values.items()]


def _volumes(instance: SDInstance) -> list[Object]:
    volumes: list[Object] = [
        {
            "name": names.bundle_volume_name(model.name),
            "persistentVolumeClaim": {"claimName": names.claim_name(model.name)},
        }
        for model in instance.spec.models
    ]
    volumes += [{"name": "outputs", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    secret = instance.spec.access.auth_secret_ref
    if _has_auth(instance) and secret is not None:
        volumes.append({"name": "auth", "secret": {"secretName": secret.name, "defaultMode": 0o440}})
    return volumes


def _has_auth(instance: SDInstance) -> bool:
    return instance.spec.access.auth == "Required" and instance.spec.access.auth_secret_ref is not None


def build_resources(instance: SDInstance, checkpoint: Checkpoint) -> Object:
    """The user's resources, the GPU, and requests where the user said nothing."""
    given = instance.spec.resources
    limits = dict(given.limits or {}) if given is not None else {}
    requests = dict(given.requests or {}) if given is not None else {}
    if "cpu" not in limits and "cpu" not in requests:
        requests["cpu"] = "250m"
    if "memory" not in limits and "memory" not in requests:
        requests["memory"] = f"{default_memory_mib(checkpoint.size)}Mi"
    if instance.spec.gpu.backend == "Whole":
        # Extended resources are asked for by their limit; the request follows.
        limits[GPU] = 1
    resources: Object = {"requests": requests}
    if limits:
        resources["limits"] = limits
    return resources


def default_memory_mib(checkpoint_bytes: int) -> int:
    """Memory for torch and its buffers, and half as much again as the checkpoint; in steps of 256 MiB."""
    wanted = 1024 + checkpoint_bytes * 3 // 2 // _MIB
    return -(-wanted // 256) * 256
