"""How the pods of an instance get to a GPU: what they need, and which profile of the settings gives it. Pure.

Knows the profiles and what the cluster offers, not which devices are taken. Nothing is held back because no
node fits now: the pending pod is what an autoscaler listens to. Refused is what no profile can ever give.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sd_operator import names, quantity
from sd_operator.api.gpu import Gpu
from sd_operator.api.instance import SDInstanceSpec
from sd_operator.api.instance_status import VramPart, VramStatus
from sd_operator.errors import ManifestError
from sd_operator.gpu_profiles import UNKNOWN_FAMILY, Dra, GpuSettings, Mig, Profile, Whole, bytes_of
from sd_operator.instance.desired import Checkpoint
from sd_operator.manifests import Object

_MIB: Final = 2**20
_BACKENDS: Final = ("Whole", "MIG", "DRA")
#: What Auto prefers among what the cluster offers, and what it waits for where nothing is offered.
_OFFERED: Final = ("DRA", "MIG", "Whole")
_WAITED_FOR: Final = ("Whole", "MIG", "DRA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """GPU memory of one pod in bytes, whole MiB, and what it is made of."""

    bytes: int
    breakdown: tuple[tuple[str, int], ...]

    @property
    def mib(self) -> int:
        """The same in MiB."""
        return self.bytes // _MIB

    @property
    def text(self) -> str:
        """As a quantity."""
        return _text(self.bytes)


class Node(NamedTuple):
    """What tells nodes apart: those of one kind are equal, so that thousands of nodes are a few of these."""

    #: extended resources that it can allocate
    resources: frozenset[str]
    #: of its labels, those that profiles ask about
    labels: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What the cluster has now."""

    nodes: frozenset[Node] = frozenset()
    device_classes: frozenset[str] = frozenset()
    #: DRA drivers that publish devices
    drivers: frozenset[str] = frozenset()
    #: False: the operator may not look
    known: bool = True

    def has(self, profile: Profile, need: Need) -> bool:
        """Whether there are devices of this profile that are large enough, taken or free."""
        if not self.known:
            return False
        if isinstance(profile, Dra):
            # The class may be there long before a driver is, and stay when it goes.
            return profile.device_class in self.device_classes and profile.driver in self.drivers
        return any(_has(node, profile, need) for node in self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """The profile that pods ask for, and how much of it."""

    profile: Profile
    need: Need
    #: The spec names the backend: no choice that Auto would have to stay with.
    pinned: bool = False
    #: Nothing offered fitted, as far as was known: no choice to stay with once something does.
    guessed: bool = False

    @property
    def backend(self) -> str:
        """Whole, MIG or DRA."""
        return self.profile.backend


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no pod can ever get what it needs; names the field and what to do."""

    message: str


class Previous(NamedTuple):
    """What the pods were made to ask for before."""

    backend: str
    profile: str
    #: The spec named the backend then: no choice of Auto's.
    pinned: bool = False
    #: The need that it was chosen for, as `annotation` spells it.
    memory: str = ""
    #: It was not offered then, as far as was known.
    guessed: bool = False


def offers_from(
    nodes: Iterable[Object],
    device_classes: Iterable[Object],
    slices: Iterable[Object],
    profiles: Sequence[Profile],
) -> Offers:
    """What Nodes, DeviceClasses and ResourceSlices say, as far as profiles ask about it."""
    resources, labels = resource_names(profiles), _label_names(profiles)
    kinds = {_node_from(node, resources, labels) for node in nodes}
    return Offers(
        nodes=frozenset(kind for kind in kinds if kind.resources),
        device_classes=frozenset(each["metadata"]["name"] for each in device_classes),
        drivers=frozenset(each["spec"]["driver"] for each in slices if each["spec"].get("devices")),
    )


def _node_from(node: Object, resources: frozenset[str], labels: frozenset[str]) -> Node:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    given = (node.get("metadata") or {}).get("labels") or {}
    return Node(
        resources=frozenset(
            name for name in resources & allocatable.keys() if (quantity.parse(allocatable[name]) or 0) > 0
        ),
        labels=frozenset((name, given[name]) for name in labels & given.keys()),
    )


def _label_names(profiles: Iterable[Profile]) -> frozenset[str]:
    """The labels of nodes by which profiles are told apart."""
    found: set[str] = set()
    for each in profiles:
        found |= each.node_selector.keys()
        if isinstance(each, Whole) and each.memory_label:
            found.add(each.memory_label)
    return frozenset(found)


def _has(node: Node, profile: Whole | Mig, need: Need) -> bool:
    """Whether pods of this profile could be put on the node, if nothing else were."""
    if profile.resource not in node.resources or not profile.node_selector.items() <= node.labels:
        return False
    label = profile.memory_label if isinstance(profile, Whole) else None
    told = dict(node.labels).get(label) if label else None
    # As the scheduler reads what _enough_memory asks for.
    return told is None or (told.isdecimal() and int(told) >= need.mib)


def need(gpu: Gpu, checkpoint: Checkpoint, settings: GpuSettings) -> Need:
    """What the spec says, else what checkpoints of this family need."""
    if gpu.memory is not None:
        parts = (("spec.gpu.memory", _whole_mib(gpu.memory)),)
        if parts[0][1] <= 0:
            raise ManifestError(f"spec.gpu.memory: it must be a quantity above zero (got {gpu.memory!r})")
        return Need(bytes=parts[0][1], breakdown=parts)
    family = settings.family_memory.get(checkpoint.family, UNKNOWN_FAMILY)
    base = (f"{checkpoint.family or 'unknown family'} base", _whole_mib(family))
    headroom = ("headroom", _whole_mib(settings.headroom))
    breakdown = tuple(part for part in (base, headroom) if part[1])
    return Need(bytes=base[1] + headroom[1], breakdown=breakdown)


def choose(
    gpu: Gpu,
    need: Need,
    profiles: Sequence[Profile],
    offers: Offers,
    previous: Previous | None,
    *,
    node_selector: Mapping[str, str] | None = None,
) -> Allocation | Refusal | None:
    """The profile that the pods ask for; None where they compute on the CPU.

    What was chosen from an offer stays for as long as need and spec.gpu.backend do, whatever is offered
    meanwhile: a device plugin that restarts takes its devices away for a while, and that moves no pod. What
    was only guessed stays until something that fits is offered. Another need, a smaller one too, is chosen
    for as if for the first time: there and back is the same. None of it outlives the profile's place in the
    table, or a spec.nodeSelector that contradicts it.
    """
    if gpu.backend == "None":
        return None
    pinned = gpu.backend != "Auto"
    fitting = [
        each
        for each in profiles
        if need.bytes <= each.capacity and (not pinned or each.backend == gpu.backend)
    ]
    # Where all of them contradict spec.nodeSelector, the choice is made for `conflicts` to name one.
    candidates = [each for each in fitting if _contradicted(each, node_selector) is None] or fitting
    offered = [each for each in candidates if offers.has(each, need)]
    kept = _kept(candidates, offered, need, previous, pinned=pinned)
    if kept is not None:
        return kept
    found = _preferred(candidates, offered)
    if found is None:
        return _refusal(gpu, need, profiles)
    return Allocation(profile=found, need=need, pinned=pinned, guessed=found not in offered)


def _kept(
    candidates: Iterable[Profile],
    offered: Sequence[Profile],
    need: Need,
    previous: Previous | None,
    *,
    pinned: bool,
) -> Allocation | None:
    """What was chosen before, where that was for the same wish and has not become better known."""
    if previous is None or previous.pinned != pinned or previous.memory != _recorded(need):
        return None
    if previous.guessed and offered:
        return None
    for each in candidates:
        if (each.backend, each.name) == (previous.backend, previous.profile):
            return Allocation(profile=each, need=need, pinned=pinned, guessed=previous.guessed)
    return None


def _preferred(candidates: Sequence[Profile], offered: Sequence[Profile]) -> Profile | None:
    ranked = [
        *(_smallest(offered, backend) for backend in _OFFERED),
        *(_smallest(candidates, backend) for backend in _WAITED_FOR),
    ]
    return next((each for each in ranked if each is not None), None)


def _smallest(profiles: Iterable[Profile], backend: str) -> Profile | None:
    """Of two equals the one that the table names first."""
    among = (each for each in profiles if each.backend == backend)
    return min(among, key=lambda each: each.capacity, default=None)


def _refusal(gpu: Gpu, need: Need, profiles: Sequence[Profile]) -> Refusal:
    largest = {
        backend: max(sizes)
        for backend in _BACKENDS
        if (sizes := [each.capacity for each in profiles if each.backend == backend])
    }
    told = ", ".join(f"{backend} up to {_text(size)}" for backend, size in largest.items()) or "none"
    pinned = gpu.backend != "Auto"
    kind = f"any GPU profile of backend {gpu.backend}" if pinned else "any GPU profile"
    other = ", or choose another spec.gpu.backend" if pinned else ""
    if pinned and gpu.backend not in largest:
        return Refusal(
            f"spec.gpu.backend: the operator's settings have no GPU profile of backend {gpu.backend} "
            f"({told}): choose another one, or Auto"
        )
    if gpu.memory is not None:
        return Refusal(
            f"spec.gpu.memory: {need.text} is more than {kind} of the operator's settings has ({told}): "
            f"ask for less{other}"
        )
    field = "spec.gpu.backend" if pinned else "spec.checkpoint"
    parts = " + ".join(f"{name} {_text(size)}" for name, size in need.breakdown)
    return Refusal(
        f"{field}: a pod needs {need.text} of GPU memory ({parts}), more than {kind} of the operator's "
        f"settings has ({told}): set spec.gpu.memory, choose a checkpoint of a smaller family{other}"
    )


def annotation(allocation: Allocation) -> str:
    """As it is written on the Deployment."""
    told: Object = {
        "backend": allocation.backend,
        "profile": allocation.profile.name,
        "memory": _recorded(allocation.need),
    }
    if allocation.pinned:
        told["pinned"] = True
    if allocation.guessed:
        told["guessed"] = True
    return json.dumps(told, sort_keys=True)


def _recorded(need: Need) -> str:
    return f"{need.mib}Mi"


def written_on(deployment: Mapping[str, Any]) -> Previous | None:
    """What was chosen for the pods of a Deployment of ours."""
    text = ((deployment.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_GPU)
    try:
        told = json.loads(text or "")
        return Previous(
            backend=str(told["backend"]),
            profile=str(told["profile"]),
            pinned=bool(told.get("pinned")),
            memory=str(told["memory"]),
            guessed=bool(told.get("guessed")),
        )
    except (ValueError, TypeError, KeyError):
        # Absent, or edited by hand: chosen anew.
        return None


def resource_names(profiles: Iterable[Profile]) -> frozenset[str]:
    """Every extended resource of the table."""
    return frozenset(each.resource for each in profiles if not isinstance(each, Dra))


def resources_conflict(spec: SDInstanceSpec, profiles: Iterable[Profile]) -> str | None:
    """What spec.resources sets although spec.gpu does, in a sentence."""
    ours = resource_names(profiles)
    given = spec.resources
    for kind, amounts in (("limits", given.limits), ("requests", given.requests)) if given else ():
        for name in sorted(ours & (amounts or {}).keys()):
            return f"spec.resources.{kind}[{name}]: it is set by spec.gpu.backend; remove it here"
    return None


def conflicts(spec: SDInstanceSpec, allocation: Allocation) -> str | None:
    """What of the spec contradicts the profile, in a sentence."""
    given, profile = spec.node_selector or {}, allocation.profile
    key = _contradicted(profile, given)
    if key is None:
        return None
    return (
        f"spec.nodeSelector[{key}]: {given[key]!r} contradicts {profile.node_selector[key]!r} of the GPU "
        f"profile {profile.name}: remove it, or choose another spec.gpu.backend"
    )


def _contradicted(profile: Profile, node_selector: Mapping[str, str] | None) -> str | None:
    """The first label of which the spec and the profile want different values."""
    given = node_selector or {}
    wanted = sorted(profile.node_selector.items())
    return next((key for key, value in wanted if given.get(key, value) != value), None)


def vram_status(need: Need, allocation: Allocation) -> VramStatus:
    """As it is shown."""
    return VramStatus(
        requested=need.text,
        breakdown=tuple(VramPart(name=name, memory=_text(size)) for name, size in need.breakdown),
        backend=allocation.backend,
        profile=allocation.profile.name,
    )


def _whole_mib(text: str) -> int:
    """A quantity in bytes, rounded up to MiB."""
    return -(-bytes_of(text) // _MIB) * _MIB


def _text(size: int) -> str:
    """Bytes as a quantity, in MiB where they are no whole GiB."""
    mib = size // _MIB
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"
