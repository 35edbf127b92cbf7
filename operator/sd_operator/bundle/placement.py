"""Where the pods of a bundle's Jobs may run. Pure.

A volume that waits for its first consumer is made where that pod runs, and stays there: so until it has a
place, the pods go where the SDInstances that will mount it can go, and rather to nodes with GPUs. Once it has
one, the volume itself decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sd_operator.api.bundle import ModelBundle
from sd_operator.claims import PREFERRED
from sd_operator.gpu_profiles import GpuSettings, Whole
from sd_operator.manifests import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A pod's own words for where it runs."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Object, ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)


def place(
    bundle: ModelBundle, *, is_placed: bool, users: Iterable[Object], settings: GpuSettings
) -> Placement:
    """By the bundle's own fields; for those that are not set, by its users, while the volume has no place."""
    options = bundle.spec.fetch
    specs = [] if is_placed else [_spec(user) for user in users]
    selector = dict(options.node_selector or {}) if options.node_selector is not None else _selector(specs)
    if options.tolerations is not None:
        tolerations = [toleration.as_manifest() for toleration in options.tolerations]
    else:
        tolerations = _tolerations(specs, settings)
    affinity = {} if options.node_selector is not None else _affinity(specs, settings)
    return Placement(node_selector=selector, tolerations=tuple(tolerations), affinity=affinity)


def kept(bundle: ModelBundle, pod: Mapping[str, Any]) -> Placement:
    """By the bundle's own fields, and for those that are not set as a pod that lives was told."""
    options = bundle.spec.fetch
    tolerations = tuple(pod.get("tolerations") or ())
    if options.tolerations is not None:
        tolerations = tuple(toleration.as_manifest() for toleration in options.tolerations)
    if options.node_selector is not None:
        return Placement(node_selector=dict(options.node_selector), tolerations=tolerations)
    affinity = {kind: terms for kind, terms in (pod.get("affinity") or {}).items() if kind == "nodeAffinity"}
    return Placement(
        node_selector=dict(pod.get("nodeSelector") or {}), tolerations=tolerations, affinity=affinity
    )


def _spec(user: Mapping[str, Any]) -> Mapping[str, Any]:
    """Stored by whoever, so of any form."""
    spec = user.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _selector(specs: list[Mapping[str, Any]]) -> dict[str, str]:
    """Labels that every user asks for; where two ask for different ones, neither."""
    wanted = [selector for spec in specs if isinstance(selector := spec.get("nodeSelector"), Mapping)]
    if len(wanted) < len(specs) or not wanted:
        return {}
    return {
        str(key): str(value)
        for key, value in wanted[0].items()
        if all(other.get(key) == value for other in wanted)
    }


def _tolerations(specs: list[Mapping[str, Any]], settings: GpuSettings) -> list[Object]:
    found: list[Object] = []
    for spec in specs:
        given = spec.get("tolerations")
        candidates = list(given) if isinstance(given, list) else []
        if _asks_for_gpu(spec):
            candidates += [
                dict(toleration) for profile in settings.profiles for toleration in profile.tolerations
            ]
        found += [dict(each) for each in candidates if isinstance(each, Mapping) and each not in found]
    return found


def _affinity(specs: list[Mapping[str, Any]], settings: GpuSettings) -> Object:
    """The node affinity of the only user; and rather a node with a GPU than one without."""
    terms: Object = {}
    if len(specs) == 1:
        given = specs[0].get("affinity")
        node = given.get("nodeAffinity") if isinstance(given, Mapping) else None
        terms = dict(node) if isinstance(node, Mapping) else {}
    if any(_asks_for_gpu(spec) for spec in specs):
        wishes = _gpu_terms(settings)
        before = terms.get(PREFERRED)
        if wishes:
            terms[PREFERRED] = [*(before if isinstance(before, list) else []), *wishes]
    return {"nodeAffinity": terms} if terms else {}


def _gpu_terms(settings: GpuSettings) -> list[Object]:
    found: list[Object] = []
    for profile in settings.profiles:
        expressions = [
            {"key": key, "operator": "In", "values": [value]} for key, value in profile.node_selector.items()
        ]
        if isinstance(profile, Whole) and profile.memory_label:
            expressions.append({"key": profile.memory_label, "operator": "Exists"})
        term = {"weight": 50, "preference": {"matchExpressions": expressions}}
        if expressions and term not in found:
            found.append(term)
    return found


def _asks_for_gpu(spec: Mapping[str, Any]) -> bool:
    gpu = spec.get("gpu")
    return not (isinstance(gpu, Mapping) and gpu.get("backend") == "None")
