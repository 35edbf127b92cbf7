"""What the manifests of all children share, and how a wish is compared with what lives in the cluster.

Pure. A child is written only when `differs` says so: the annotation with the hash of the wish tells that the
wish changed (and lets server-side apply drop what is no longer wished for), and the comparison with the live
object tells that somebody changed it.
"""

from collections.abc import Mapping
from typing import Any

from sd_operator import names
from sd_operator.api import quantity

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
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def stamped(manifest: Object) -> Object:
    """The manifest with the hash of its content in an annotation."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        names.ANNOTATION_APPLIED: names.digest(manifest),
    }
    return {**manifest, "metadata": metadata}


#: Fields that are compared whole: what somebody adds to them changes what the child does, and server-side
#: apply replaces them whole.
WHOLE = frozenset({"selector", "nodeSelector", "command", "args"})

Path = tuple[str, ...]


def differs(wish: Object, live: Mapping[str, Any]) -> bool:
    """Whether a stamped wish must be applied to what lives."""
    return not _holds(wish, live, ())


def _holds(wish: Any, live: Any, path: Path) -> bool:
    """Whether `live` has everything that `wish` says; what others added is theirs, but for WHOLE fields."""
    if path and path[-1] in WHOLE:
        return bool(wish == live or (not wish and not live))
    if isinstance(wish, Mapping):
        if not isinstance(live, Mapping):
            return not wish and live is None
        return all(_holds(value, live.get(key), (*path, str(key))) for key, value in wish.items())
    if isinstance(wish, list | tuple):
        return _list_holds(wish, live, path)
    if wish == live or (_is_amount(path) and quantity.same(wish, live)):
        return True
    # The API server leaves out what is empty.
    return live is None and wish in (None, "", False, 0)


def _is_amount(path: Path) -> bool:
    """Whether the API server reads the field as a quantity, and writes it its own way."""
    return path[-3:-2] == ("resources",) and path[-2] in ("limits", "requests")


def _list_holds(wish: list[Any] | tuple[Any, ...], live: Any, path: Path) -> bool:
    if not isinstance(live, list):
        return not wish and live is None
    by_name = {item.get("name"): item for item in live if isinstance(item, Mapping)}
    for item in wish:
        if isinstance(item, Mapping) and item.get("name") in by_name:
            if not _holds(item, by_name[item.get("name")], path):
                return False
        elif not any(_holds(item, other, path) for other in live):
            return False
    return True


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
