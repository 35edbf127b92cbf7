"""The plugins' containers in an instance's pods. Pure.

They are native sidecars: init containers that go on, start before the runtime and end after it. They have no
probes. A startup probe that fails would keep the runtime from starting, and a readiness probe that fails
would take the whole pod out of its Service; so the runtime asks over the socket whether a plugin is well.
"""

from collections.abc import Mapping, Sequence

from sd_operator import names
from sd_operator.instance.children import volumes
from sd_operator.instance.children.volumes import Mounted
from sd_operator.instance.plugins import Plugin
from sd_operator.manifests import Object, container_security

DEFAULT_REQUESTS = {"cpu": "100m", "memory": "256Mi"}
#: Where nothing at all is said of memory: a plugin shall not take its node's.
DEFAULT_MEMORY_LIMIT = "2Gi"
#: A plugin that fills it is evicted with its pod; without a limit it would fill the node.
SCRATCH_SIZE = "1Gi"


def build_sidecars(
    plugins: Sequence[Plugin], claims: Mapping[str, str], *, image_pull_policy: str
) -> list[Object]:
    """A container for each plugin."""
    return [_sidecar(plugin, claims, image_pull_policy) for plugin in plugins]


def pod_volumes(plugins: Sequence[Plugin], claims: Mapping[str, str]) -> list[Mounted]:
    """What the pod needs for them, besides what the runtime mounts itself; a bundle may be of several."""
    found = [each for plugin in plugins for each in _mounted(plugin, claims)]
    return list({each.name: each for each in found}.values())


def bundles(plugins: Sequence[Plugin]) -> list[str]:
    """The bundles that plugins mount."""
    return list(dict.fromkeys(bundle for plugin in plugins for bundle in plugin.bundles))


def _sidecar(plugin: Plugin, claims: Mapping[str, str], image_pull_policy: str) -> Object:
    values = {
        "HOME": volumes.TMP_PATH,
        # Where GPUs come by the container runtime, an image may ask for all of them by this name.
        "NVIDIA_VISIBLE_DEVICES": "void",
        "SD_PLUGIN_NAME": plugin.name,
        "SD_PLUGIN_SOCKET": names.plugin_socket(plugin.name),
        "SD_PLUGIN_MODELS": ":".join(names.bundle_mount_path(bundle) for bundle in plugin.bundles),
    }
    return {
        "name": names.plugin_container(plugin.name),
        "image": plugin.spec.image,
        "imagePullPolicy": image_pull_policy,
        "restartPolicy": "Always",
        # Said although they are none: what is left out stays as somebody else set it.
        "command": [],
        "args": [],
        "env": [{"name": name, "value": value} for name, value in values.items()],
        "resources": _resources(plugin),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [each.mount() for each in _mounted(plugin, claims)],
    }


def _mounted(plugin: Plugin, claims: Mapping[str, str]) -> list[Mounted]:
    """The sockets' folder, a scratch folder of its own, and its bundles."""
    scratch = names.fit(f"tmp-{plugin.name}")
    return [
        volumes.sockets(read_only=False),
        Mounted(
            name=scratch,
            path=volumes.TMP_PATH,
            source={"emptyDir": {"sizeLimit": SCRATCH_SIZE}},
            scratch=True,
        ),
        *(volumes.of_bundle(bundle, volumes.claim_of(bundle, claims)) for bundle in plugin.bundles),
    ]


def _resources(plugin: Plugin) -> Object:
    """The plugin's resources, and requests and a limit of memory where it says nothing."""
    given = plugin.spec.resources
    limits = dict(given.limits or {}) if given is not None else {}
    requests = dict(given.requests or {}) if given is not None else {}
    if "memory" not in limits and "memory" not in requests:
        limits["memory"] = DEFAULT_MEMORY_LIMIT
        requests["memory"] = DEFAULT_REQUESTS["memory"]
    for name, amount in DEFAULT_REQUESTS.items():
        if name not in limits and name not in requests:
            requests[name] = amount
    resources: Object = {"requests": requests}
    if limits:
        resources["limits"] = limits
    return resources
