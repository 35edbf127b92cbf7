"""What the manifests of all children share, and how a wish is compared with what lives in the cluster.

Pure. A child is written only when `differs` says so: the annotation with the hash of the wish tells that the
wish changed (and lets server-side apply drop what is no longer wished for), and the comparison with the live
object tells that somebody changed it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sd_operator import names, quantity
from sd_operator.api.kubernetes import LocalObjectReference

Object = dict[str, Any]

#: uid and gid of our images' user.
USER = 10001


def labels(*, app: str, owner: str, component: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The labels of a child and of its pods."""
    return {
        names.LABEL_NAME: app,
        names.LABEL_INSTANCE: owner,
        names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
        names.LABEL_COMPONENT: component,
        **extra,
    }


def owner_reference(resource: names.Resource, *, name: str, uid: str) -> Object:
    """Makes the garbage collector remove the child with its owner."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        # True would need the right to write the owner's finalizers where that admission plugin is on.
        "blockOwnerDeletion": False,
    }


def pod_security() -> Object:
    """The pod's half of Pod Security `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """The container's half of Pod Security `restricted`, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        # What nobody asked for is said too: left out, it stays as somebody else set it.
        "privileged": False,
        "capabilities": {"drop": ["ALL"], "add": []},
        "readOnlyRootFilesystem": True,
    }


def pull_secrets(own: Sequence[LocalObjectReference] | None, defaults: Sequence[str]) -> list[Object]:
    """`imagePullSecrets` of a pod: the spec's own, then those of the settings. A pod may need both: its image
    may be the user's, its plugins' are from the operator's registry."""
    found = dict.fromkeys([*(secret.name for secret in own or ()), *defaults])
    return [{"name": name} for name in found]


def stamped(manifest: Object) -> Object:
    """The manifest with the hash of its content in an annotation."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        names.ANNOTATION_APPLIED: names.digest(manifest),
    }
    return {**manifest, "metadata": metadata}


#: Fields that server-side apply replaces whole: what somebody adds to them changes what the child does. So
#: are all lists but those below, and everything inside such a field.
WHOLE = frozenset(
    {
        "selector",
        "podSelector",
        "namespaceSelector",
        "labelSelector",
        "nodeSelector",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "secretKeyRef",
        "configMapKeyRef",
    }
)
#: Lists whose items have an identity for server-side apply: an item that others add is theirs, and stays.
KEYS: Mapping[str, tuple[str, ...]] = {
    "ownerReferences": ("uid",),
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    # Of a container and of a Service.
    "ports": ("containerPort", "port", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    # Of a pod, and of a container's resources.
    "resourceClaims": ("name",),
    "claims": ("name",),
}
#: What the API server fills in inside the fields that are compared whole.
FILLED_IN: Mapping[str, Any] = {"protocol": "TCP", "allocationMode": "ExactCount", "count": 1}
#: Maps of strings, which the API server leaves out when they are empty; an empty object means something.
STRING_MAPS = frozenset(
    {"labels", "annotations", "matchLabels", "selector", "nodeSelector", "data", "limits", "requests"}
)
#: Switches that the API server leaves out when they are off; others it keeps, as absent means something else.
LEFT_OUT_WHEN_FALSE = frozenset({"paused", "hostNetwork", "hostPID", "hostIPC"})

Path = tuple[str, ...]


def differs(wish: Object, live: Mapping[str, Any]) -> bool:
    """Whether a stamped wish must be applied to what lives: exactly when that would change it."""
    # The kind was asked for; the items of a list do not repeat it.
    return not all(
        _holds(value, live.get(key), (key,))
        for key, value in wish.items()
        if key not in ("apiVersion", "kind")
    )


def _holds(wish: Any, live: Any, path: Path) -> bool:
    """Whether `live` has everything that `wish` says; what others added is theirs, but in whole fields."""
    if path[-1] in WHOLE:
        return _is(wish, live, path)
    if live is None:
        return _is_left_out(wish, path)
    if isinstance(wish, Mapping):
        return isinstance(live, Mapping) and all(
            _holds(value, live.get(key), (*path, str(key))) for key, value in wish.items()
        )
    if isinstance(wish, list | tuple) and path[-1] in KEYS:
        return isinstance(live, list) and _items_hold(wish, live, path)
    return _is(wish, live, path)


def _items_hold(wish: Sequence[Any], live: list[Any], path: Path) -> bool:
    found = {_identity(item, path): item for item in live if isinstance(item, Mapping)}
    return all(_holds(item, found.get(_identity(item, path)), (*path, "")) for item in wish)


def _identity(item: Mapping[str, Any], path: Path) -> tuple[Any, ...]:
    return tuple(item.get(key, FILLED_IN.get(key)) for key in KEYS[path[-1]])


def _is(wish: Any, live: Any, path: Path) -> bool:
    """Whether the API server stores the wish as `live`, no more and no less."""
    if live is None:
        return _is_left_out(wish, path)
    if isinstance(wish, Mapping):
        return (
            isinstance(live, Mapping)
            and all(_is(value, live.get(key), (*path, str(key))) for key, value in wish.items())
            and all(
                value == FILLED_IN.get(key) or _is_left_out(value, (*path, key))
                for key, value in live.items()
                if key not in wish
            )
        )
    if isinstance(wish, list | tuple):
        return (
            isinstance(live, list)
            and len(wish) == len(live)
            and all(_is(one, other, (*path, "")) for one, other in zip(wish, live, strict=True))
        )
    if isinstance(wish, bool) or isinstance(live, bool):
        return wish is live
    return bool(wish == live) or (_is_amount(path) and quantity.same(wish, live))


def _is_left_out(value: Any, path: Path) -> bool:
    """Whether the API server stores this value of the field as its absence."""
    if isinstance(value, bool):
        return not value and path[-1] in LEFT_OUT_WHEN_FALSE
    if isinstance(value, str):
        return not value and path[-2:][0] not in STRING_MAPS
    if isinstance(value, Mapping):
        return not value and path[-1] in STRING_MAPS
    return value is None or value in ([], ())


def _is_amount(path: Path) -> bool:
    """Whether the API server reads the field as a quantity, and writes it its own way."""
    if path[-1] == "sizeLimit":
        return True
    return path[-3:-2] in (("resources",), ("capacity",)) and path[-2] in ("limits", "requests")


def is_ours(live: Mapping[str, Any], *, uid: str) -> bool:
    """Whether the object is controlled by the object with this uid."""
    return any(
        reference.get("uid") == uid and reference.get("controller")
        for reference in live["metadata"].get("ownerReferences") or ()
    )


def is_orphan(live: Mapping[str, Any], *, label: str, owner: str) -> bool:
    """Whether we made the object for the owner of this name, and it lost its owner reference since."""
    metadata = live["metadata"]
    labels = metadata.get("labels") or {}
    return (
        not metadata.get("ownerReferences")
        and labels.get(names.LABEL_MANAGED_BY) == names.FIELD_MANAGER
        and labels.get(label) == owner
        and names.ANNOTATION_APPLIED in (metadata.get("annotations") or {})
    )


def was_ours(live: Mapping[str, Any], *, resource: names.Resource, name: str) -> bool:
    """Whether the object belonged to an earlier object of the same kind and name, and is about to go."""
    return any(
        reference.get("kind") == resource.kind
        and reference.get("name") == name
        and str(reference.get("apiVersion", "")).startswith(f"{names.GROUP}/")
        for reference in live["metadata"].get("ownerReferences") or ()
    )
