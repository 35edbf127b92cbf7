"""The volumes of an instance's pods, and where the runtime finds them. Pure.

The container's root is read-only: every path that something writes to is a volume.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.config import FILE, VOLUME
from sd_operator.manifests import Object

AUTH_PATH = "/etc/sd-runtime/auth"
#: A whole folder: the kubelet does not update a file that is mounted alone.
DESIRED_PATH = "/etc/sd-runtime/desired"
DESIRED_FILE = f"{DESIRED_PATH}/{FILE}"
OUTPUT_PATH = "/outputs"
CACHE_PATH = "/cache"
TMP_PATH = "/tmp"

#: Shared memory of the GPU's libraries; a container's own has 64 MiB.
SHARED_MEMORY = "1Gi"
#: Of the folder with the plugins' sockets, which take nothing.
SOCKETS_SIZE = "16Mi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A volume of the pod and its place in the container."""

    name: str
    path: str
    source: Object
    read_only: bool = False
    #: Nothing is missed when it goes with its pod.
    scratch: bool = False

    def volume(self) -> Object:
        """In the pod."""
        return {"name": self.name, **self.source}

    def mount(self) -> Object:
        """In the container."""
        found: Object = {"name": self.name, "mountPath": self.path}
        if self.read_only:
            found["readOnly"] = True
        return found


def mounted(instance: SDInstance, *, gpu: bool, plugins: bool, claims: Mapping[str, str]) -> list[Mounted]:
    """All volumes of the runtime; that of the desired state without the name of its ConfigMap. `claims`: of
    bundles that do not have the one that is named after them."""
    found = [of_bundle(model.name, claim_of(model.name, claims)) for model in instance.spec.models]
    found += [
        Mounted(
            name=VOLUME,
            path=DESIRED_PATH,
            source={"configMap": {"defaultMode": 0o444}},
            read_only=True,
        ),
        Mounted(name="outputs", path=OUTPUT_PATH, source=_outputs(instance)),
        Mounted(name="tmp", path=TMP_PATH, source={"emptyDir": {}}, scratch=True),
        Mounted(name="cache", path=CACHE_PATH, source={"emptyDir": {}}, scratch=True),
    ]
    if gpu:
        memory = {"medium": "Memory", "sizeLimit": SHARED_MEMORY}
        found.append(Mounted(name="shm", path="/dev/shm", source={"emptyDir": memory}, scratch=True))
    if plugins:
        # Connecting to a socket writes nothing.
        found.append(sockets(read_only=True))
    secret = instance.spec.access.auth_secret_ref
    if has_auth(instance) and secret is not None:
        source = {"secret": {"secretName": secret.name, "defaultMode": 0o440}}
        found.append(Mounted(name="auth", path=AUTH_PATH, source=source, read_only=True))
    return found


def has_auth(instance: SDInstance) -> bool:
    """Whether users are asked for a password."""
    return instance.spec.access.auth == "Required" and instance.spec.access.auth_secret_ref is not None


def claim_of(bundle: str, claims: Mapping[str, str]) -> str:
    """The claim with a bundle's files."""
    return claims.get(bundle) or names.claim_name(bundle)


def sockets(*, read_only: bool) -> Mounted:
    """The folder with the sockets of the plugins."""
    return Mounted(
        name="plugins",
        path=names.SOCKETS,
        source={"emptyDir": {"sizeLimit": SOCKETS_SIZE}},
        read_only=read_only,
        scratch=True,
    )


def of_bundle(bundle: str, claim: str) -> Mounted:
    """The volume with a bundle's files."""
    return Mounted(
        name=names.bundle_volume_name(bundle),
        path=names.bundle_mount_path(bundle),
        source={"persistentVolumeClaim": {"claimName": claim}},
        read_only=True,
    )


def _outputs(instance: SDInstance) -> Object:
    if instance.spec.outputs is None:
        return {"emptyDir": {}}
    return {"persistentVolumeClaim": {"claimName": names.outputs_name(instance.metadata.name)}}
