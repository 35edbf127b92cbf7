"""The runtime's container in an instance's pods. Pure."""

from collections.abc import Iterable, Sequence

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children import volumes
from sd_operator.instance.children.volumes import Mounted
from sd_operator.instance.desired import Checkpoint
from sd_operator.instance.plugins import Plugin, words_for_runtime
from sd_operator.manifests import Object, container_security

CONTAINER = "runtime"

#: Before SIGTERM, while requests still come: until every node knows that the pod has left the Service,
#: and until a process that was only just started hears the signal (a container's first one ignores it).
LEAVING_SECONDS = 3
#: A checkpoint of many gigabytes on slow storage may take this long to load.
START_PERIOD_SECONDS = 2
START_FAILURES = 900

#: Coarse, so that a checkpoint of about the same size is no reason to replace pods.
MEMORY_STEP_MIB = 512
_MIB = 2**20

_POD_IP: Object = {
    "name": "SD_POD_IP",
    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}},
}


def build_container(
    instance: SDInstance,
    checkpoint: Checkpoint,
    mounted: Iterable[Mounted],
    *,
    gpu: bool,
    pickles: bool,
    plugins: Sequence[Plugin],
    image: str,
    image_pull_policy: str,
    token_sha256: str,
) -> Object:
    """The container, but for its way to a GPU."""
    ready = {"httpGet": {"path": "/readyz", "port": "management"}, "timeoutSeconds": 5}
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": image_pull_policy,
        "command": ["python", "-m", "sd_runtime"],
        # Said although they are none: what is left out stays as somebody else set it.
        "args": [],
        "env": _environment(instance, gpu=gpu, pickles=pickles, plugins=plugins, token_sha256=token_sha256),
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
        "volumeMounts": [each.mount() for each in mounted],
    }


def _environment(
    instance: SDInstance, *, gpu: bool, pickles: bool, plugins: Sequence[Plugin], token_sha256: str
) -> list[Object]:
    """Ours, then the user's, who may give another value to what is ours only for want of theirs."""
    spec = instance.spec
    values = {
        # Libraries that insist on a home or a cache find them where the root is writable.
        "HOME": volumes.TMP_PATH,
        "XDG_CACHE_HOME": volumes.CACHE_PATH,
        "TORCHINDUCTOR_CACHE_DIR": f"{volumes.CACHE_PATH}/torchinductor",
        "TRITON_CACHE_DIR": f"{volumes.CACHE_PATH}/triton",
        "SD_MODEL_ROOTS": ":".join(names.bundle_mount_path(model.name) for model in spec.models),
        "SD_DESIRED_FILE": volumes.DESIRED_FILE,
        # Never auto: a GPU that was asked for and cannot be used is an error, not a slow service.
        "SD_DEVICE": "cuda" if gpu else "cpu",
        "SD_OUTPUT_DIR": volumes.OUTPUT_PATH,
        "SD_AUTH": spec.access.auth.lower(),
        "SD_PAGE": "on" if spec.access.page == "Enabled" else "off",
        "SD_MANAGEMENT_TOKEN_SHA256": token_sha256,
        "SD_DRAIN_SECONDS": str(spec.rollout.drain_timeout_seconds),
        "SD_CACHE_DIR": f"{volumes.CACHE_PATH}/sd-runtime",
        # By its own address and this name a pod knows the others, and passes on what they were asked to do.
        "SD_PEERS": f"{names.headless_name(instance.metadata.name)}.{instance.metadata.namespace}.svc",
    }
    if pickles:
        values["SD_ALLOW_PICKLES"] = "true"
    if spec.outputs is not None and spec.outputs.retention_days is not None:
        values["SD_OUTPUT_RETENTION_DAYS"] = str(spec.outputs.retention_days)
    if plugins:
        values["SD_PLUGIN_DIR"] = names.SOCKETS
        values["SD_PLUGINS"] = words_for_runtime(plugins)
    if volumes.has_auth(instance):
        values["SD_AUTH_DIR"] = volumes.AUTH_PATH
    theirs = [each.as_manifest() for each in spec.env or () if each.name not in names.OWN_VARIABLES]
    given = {each["name"] for each in theirs}
    ours = [{"name": name, "value": value} for name, value in values.items() if name not in given]
    return [_POD_IP, *ours, *theirs]


def build_resources(instance: SDInstance, checkpoint: Checkpoint) -> Object:
    """The user's resources, and requests where the user said nothing."""
    given = instance.spec.resources
    limits = dict(given.limits or {}) if given is not None else {}
    requests = dict(given.requests or {}) if given is not None else {}
    if "cpu" not in limits and "cpu" not in requests:
        requests["cpu"] = "250m"
    if "memory" not in limits and "memory" not in requests:
        requests["memory"] = f"{default_memory_mib(checkpoint.size)}Mi"
    resources: Object = {"requests": requests}
    if limits:
        resources["limits"] = limits
    return resources


def default_memory_mib(checkpoint_bytes: int) -> int:
    """Memory for torch and its buffers, and half as much again as the checkpoint, in coarse steps."""
    wanted = 1024 + checkpoint_bytes * 3 // 2 // _MIB
    return -(-wanted // MEMORY_STEP_MIB) * MEMORY_STEP_MIB
