"""What all volume claims share: they only grow, and one that a single node mounts draws pods there. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sd_operator import names, quantity

Object = dict[str, Any]

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
#: Value of the label of a ReadWriteOnce volume; all is in the key.
MOUNTS = "true"


def claim_spec(*, size: str, access_modes: Sequence[str], storage_class_name: str | None) -> Object:
    """The spec of a claim; without a class the cluster's default one is filled in."""
    spec: Object = {"accessModes": list(access_modes), "resources": {"requests": {"storage": size}}}
    if storage_class_name is not None:
        spec["storageClassName"] = storage_class_name
    return spec


def size_to_ask(wanted: str, live: Object | None) -> str:
    """The size of the spec, but no smaller than the claim that lives: a volume cannot shrink.

    An expansion that was asked for and has not happened may be taken back.
    """
    asked, has = live_size(live), _capacity(live)
    if asked is None or not _is_less(wanted, asked):
        return wanted
    return wanted if has is not None and _is_less(has, wanted) else asked


def size_note(field: str, wanted: str, asked: str) -> str | None:
    """What is said of a spec's field that asks for less than the volume has."""
    if not _is_less(wanted, asked):
        return None
    return f"{field}: {wanted} is ignored, because volumes only grow and this one asks for {asked}"


def live_size(live: Object | None) -> str | None:
    """What the claim that lives asks for."""
    resources = (live or {}).get("spec", {}).get("resources") or {}
    size: str | None = (resources.get("requests") or {}).get("storage")
    return size


def mount_labels(mounted: Iterable[str]) -> dict[str, str]:
    """The labels of pods that mount these ReadWriteOnce claims."""
    return {names.claim_label(claim): MOUNTS for claim in mounted}


def beside(affinity: Mapping[str, Any], mounted: Sequence[str]) -> Object:
    """The affinity, and besides the wish to be where these ReadWriteOnce claims are in use.

    The pods must carry `mount_labels`: the scheduler lets the first of a group through, which its own terms
    match. For the others it looks for one pod that matches all required terms at once. So required terms of
    the user's own leave no room for ours, which are preferred then; and of several claims, each is preferred
    besides.
    """
    merged = dict(affinity)
    given = merged.get("podAffinity") or {}
    if not mounted or not isinstance(given, Mapping):
        # Of no form that the API server takes: it says so when it is applied.
        return merged
    terms = [
        {
            "labelSelector": {"matchLabels": mount_labels([claim])},
            "topologyKey": "kubernetes.io/hostname",
        }
        for claim in mounted
    ]
    pod_affinity = dict(given)
    own = bool(pod_affinity.get(REQUIRED))
    if not own:
        pod_affinity[REQUIRED] = terms
    if own or len(mounted) > 1:
        preferred = pod_affinity.get(PREFERRED) or []
        ours = [{"weight": 100, "podAffinityTerm": term} for term in terms]
        pod_affinity[PREFERRED] = [*preferred, *ours] if isinstance(preferred, list) else preferred
    merged["podAffinity"] = pod_affinity
    return merged


def is_exclusive(claim: Mapping[str, Any]) -> bool:
    """Whether only one node can mount the claim at a time."""
    return "ReadWriteMany" not in (claim.get("spec", {}).get("accessModes") or ())


def is_placed(claim: Mapping[str, Any] | None) -> bool:
    """Whether the claim has its volume, and with it the nodes that can mount it."""
    return claim is not None and bool(claim.get("spec", {}).get("volumeName"))


def _capacity(live: Object | None) -> str | None:
    size: str | None = (((live or {}).get("status") or {}).get("capacity") or {}).get("storage")
    return size


def _is_less(one: str, other: str) -> bool:
    first, second = quantity.stored(one), quantity.stored(other)
    return first is not None and second is not None and first < second
