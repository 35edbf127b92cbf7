"""What the standard `restricted` of Pod Security refuses in a pod, as the API server's admission does.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
#: The only one that `restricted` lets a container add.
CAPABILITY = "NET_BIND_SERVICE"
SECCOMP = {"RuntimeDefault", "Localhost"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def violations(pod: Object) -> list[str]:
    """A sentence for each thing that is refused in a pod's spec."""
    return [
        *_of_pod(pod),
        *(
            f"{container['name']}: {words}"
            for container in (*pod.get("initContainers", ()), *pod["containers"])
            for check in CONTAINER_CHECKS
            for words in check(container, pod.get("securityContext") or {})
        ),
    ]


def _of_pod(pod: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    security = pod.get("securityContext") or {}
    if security.get("runAsUser") == 0:
        yield "runAsUser 0"
    if security.get("sysctls"):
        yield "sysctls"
    for volume in pod.get("volumes", ()):
        kinds = set(volume) - {"name"}
        if not kinds or not kinds <= VOLUMES:
            yield f"volume {volume['name']} of kind {', '.join(sorted(kinds))}"


def _rights(container: Object, pod: Object) -> Iterator[str]:
    security = container.get("securityContext") or {}
    if security.get("privileged"):
        yield "privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation must be false"
    capabilities = security.get("capabilities") or {}
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities must drop ALL"
    if set(capabilities.get("add") or ()) - {CAPABILITY}:
        yield "capabilities are added"
    if security.get("procMount", "Default") != "Default":
        yield "procMount"


def _user(container: Object, pod: Object) -> Iterator[str]:
    security = container.get("securityContext") or {}
    if not security.get("runAsNonRoot", pod.get("runAsNonRoot")):
        yield "runAsNonRoot must be true"
    if security.get("runAsUser") == 0:
        yield "runAsUser 0"


def _confinement(container: Object, pod: Object) -> Iterator[str]:
    security = container.get("securityContext") or {}
    seccomp = security.get("seccompProfile") or pod.get("seccompProfile") or {}
    if seccomp.get("type") not in SECCOMP:
        yield "seccompProfile"
    for profile in (security.get("appArmorProfile"), pod.get("appArmorProfile")):
        if profile and profile.get("type") not in SECCOMP:
            yield "appArmorProfile"
    for options in (security.get("seLinuxOptions"), pod.get("seLinuxOptions")):
        if options and (options.get("user") or options.get("role")):
            yield "seLinuxOptions"


def _host(container: Object, pod: Object) -> Iterator[str]:
    for port in container.get("ports", ()):
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']}"
    hooks = (container.get("lifecycle") or {}).values()
    for asked in (*(container.get(probe) for probe in PROBES), *hooks):
        for kind in ("httpGet", "tcpSocket"):
            if ((asked or {}).get(kind) or {}).get("host"):
                yield f"{kind} to another host"


CONTAINER_CHECKS: tuple[Callable[[Object, Object], Iterator[str]], ...] = (
    _rights,
    _user,
    _confinement,
    _host,
)
