"""What a GPU writes into a pod: resources or a claim, nodes with enough memory, tolerations. Pure.

Knows the profile that was chosen, not why (see instance/gpu.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.gpu_profiles import Dra, Whole
from sd_operator.instance.children.metadata import metadata
from sd_operator.instance.gpu import Allocation, Need
from sd_operator.manifests import Object

#: Name of the claim in the pod, and of its one request.
CLAIM: Final = "gpu"

_TERMS: Final = ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")


def build_claim_template(instance: SDInstance, allocation: Allocation) -> Object:
    """The claim that each pod makes: one device with enough memory."""
    profile, name = allocation.profile, instance.metadata.name
    if not isinstance(profile, Dra):
        raise ValueError(f"{profile.name} is no profile of backend DRA")
    # A filter; asking for capacity instead, which shared devices need, came with Kubernetes 1.36.
    enough = f"device.capacity['{profile.driver}'].memory.compareTo(quantity('{allocation.need.text}')) >= 0"
    exactly = {
        "deviceClassName": profile.device_class,
        "allocationMode": "ExactCount",
        "count": 1,
        "selectors": [{"cel": {"expression": enough}}],
    }
    spec: Object = {"spec": {"devices": {"requests": [{"name": CLAIM, "exactly": exactly}]}}}
    return {
        "apiVersion": names.CLAIMTEMPLATE.api_version,
        "kind": names.CLAIMTEMPLATE.kind,
        "metadata": metadata(instance, name=names.claim_template_name(name, spec), component="gpu"),
        "spec": spec,
    }


def onto_pod(
    pod_spec: Object, container_name: str, allocation: Allocation, claim_template: str | None
) -> Object:
    """The pod's spec with its way to the GPU; claim_template is the name of DRA's template."""
    profile = allocation.profile
    pod = dict(pod_spec)
    resources: Object = {}
    if isinstance(profile, Dra):
        if claim_template is None:
            raise ValueError("a pod of backend DRA needs the name of its claim template")
        claim = {"name": CLAIM, "resourceClaimTemplateName": claim_template}
        pod["resourceClaims"] = [*(pod.get("resourceClaims") or ()), claim]
        resources["claims"] = [{"name": CLAIM}]
    else:
        # Extended resources are asked for by their limit; the request follows.
        resources["limits"] = {profile.resource: 1}
    pod["containers"] = [
        _with_resources(each, resources) if each["name"] == container_name else each
        for each in pod["containers"]
    ]
    if isinstance(profile, Whole) and profile.memory_label:
        ours = _enough_memory(profile.memory_label, allocation.need)
        pod["affinity"] = _and(pod.get("affinity"), _TERMS, ours)
    tolerations = list(pod.get("tolerations") or ())
    tolerations += [dict(each) for each in profile.tolerations if each not in tolerations]
    if tolerations:
        pod["tolerations"] = tolerations
    if profile.node_selector:
        pod["nodeSelector"] = {**(pod.get("nodeSelector") or {}), **profile.node_selector}
    if profile.runtime_class_name and not pod.get("runtimeClassName"):
        pod["runtimeClassName"] = profile.runtime_class_name
    return pod


def _with_resources(container: Object, wanted: Object) -> Object:
    resources = dict(container.get("resources") or {})
    if "limits" in wanted:
        resources["limits"] = {**(resources.get("limits") or {}), **wanted["limits"]}
    if "claims" in wanted:
        resources["claims"] = [*(resources.get("claims") or ()), *wanted["claims"]]
    return {**container, "resources": resources}


def _enough_memory(label: str, need: Need) -> list[Object]:
    """Terms for nodes whose GPUs are large enough or do not tell: feature discovery may be absent."""
    return [
        {"matchExpressions": [{"key": label, "operator": "Gt", "values": [str(need.mib - 1)]}]},
        {"matchExpressions": [{"key": label, "operator": "DoesNotExist"}]},
    ]


def _and(given: Any, path: Sequence[str], ours: list[Object]) -> Any:
    """The user's affinity and our terms; what has no form we know is left for the API server to refuse."""
    if not path:
        return _crossed(given, ours)
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        return given
    return {**given, path[0]: _and(given.get(path[0]), path[1:], ours)}


def _crossed(theirs: Any, ours: list[Object]) -> Any:
    """Terms are alternatives, so both lists hold where one of each does."""
    if theirs is None or theirs == []:
        return ours
    if not isinstance(theirs, list) or not all(_is_term(term) for term in theirs):
        return theirs
    terms: list[Object] = []
    for term in theirs:
        if not term.get("matchExpressions") and not term.get("matchFields"):
            # An empty term matches no node, and must not come to match those of ours.
            terms.append(term)
            continue
        expressions = term.get("matchExpressions") or []
        terms += [{**term, "matchExpressions": [*expressions, *each["matchExpressions"]]} for each in ours]
    return terms


def _is_term(term: Any) -> bool:
    return isinstance(term, Mapping) and isinstance(term.get("matchExpressions") or [], list)
