"""All objects of a namespace without what must differ between two runs of one story, for comparison.

Left out are uids, versions, times, addresses and generated names; digests that a uid goes into are only
noted as present. What other controllers report is kept as far as the story is about it.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.rig.kube import Kube, KubeError, Object
from benchmarks.rig.scene import API

KINDS = (
    (API, "sdinstances"),
    (API, "modelbundles"),
    (API, "sdplugins"),
    ("apps/v1", "deployments"),
    ("apps/v1", "replicasets"),
    ("batch/v1", "jobs"),
    ("v1", "services"),
    ("v1", "configmaps"),
    ("v1", "serviceaccounts"),
    ("v1", "persistentvolumeclaims"),
    ("v1", "pods"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("networking.k8s.io/v1", "ingresses"),
    ("policy/v1", "poddisruptionbudgets"),
    ("resource.k8s.io/v1", "resourceclaimtemplates"),
)
#: Every namespace has them.
NOT_OURS = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
OPERATOR = "sd-operator"

#: A uid goes into these, and a uid or a time into the end of these names.
DIGESTED_NAME = re.compile(r"(-desired-|-upkeep-)[0-9a-f]{8}\b")
DIGESTS = {"sdoperator.dev/applied", "sdoperator.dev/template"}
DIGEST_VARIABLES = {"SD_MANAGEMENT_TOKEN_SHA256", "SD_FETCH_TOKEN_SHA256"}
#: What the Deployment's controller notes while it works.
NOTES = re.compile(r"^deployment\.kubernetes\.io/(desired|max)-replicas$|^pv\.kubernetes\.io/|^volume\.")
HASH_LABELS = {"pod-template-hash", "controller-uid", "batch.kubernetes.io/controller-uid"}
ASSIGNED = {"clusterIP", "clusterIPs", "nodePort", "healthCheckNodePort", "volumeName", "nodeName"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

Snapshot = list[str]


async def collect(kube: Kube, namespace: str) -> list[Object]:
    """Everything of the namespace that the operator or its children's controllers make."""
    found = []
    for api_version, plural in KINDS:
        try:
            items = await kube.find(api_version, plural, namespace)
        except KubeError as error:
            if error.status != 404:
                raise
            continue
        found += [item for item in items if (item["kind"], item["metadata"]["name"]) not in NOT_OURS]
    return found


def normal(objects: Iterable[Object], namespace: str) -> Snapshot:
    """Lines of text, equal for two worlds that are the same."""
    everything = list(objects)
    words = _words(everything, namespace)
    texts = []
    for item in everything:
        text = json.dumps(_object(item), sort_keys=True, indent=1)
        for old, new in words:
            text = text.replace(old, new)
        # What an earlier template, or a bundle's last verification, names may be gone; what others name must
        # be there.
        texts.append(undigested(text) if item["kind"] in ("ReplicaSet", "ModelBundle") else text)
    return [line for text in sorted(texts) for line in text.splitlines()]


def undigested(text: str) -> str:
    """The text without digests in names that differ between two runs."""
    return DIGESTED_NAME.sub(r"\1HASH", text)


def difference(expected: Snapshot, found: Snapshot) -> str:
    """What is not the same, for people."""
    return "\n".join(difflib.unified_diff(expected, found, "undisturbed", "disturbed", lineterm="", n=8))


def settled(objects: Iterable[Object]) -> bool:
    """Whether nobody but the operator has anything left to do."""
    return all(_is_settled(item) for item in objects)


def _is_settled(item: Object) -> bool:
    status, spec = item.get("status") or {}, item.get("spec") or {}
    if item["metadata"].get("deletionTimestamp"):
        return False
    if item["kind"] == "Deployment":
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return status.get("observedGeneration") == item["metadata"]["generation"] and counts == 3 * [
            spec["replicas"]
        ]
    if item["kind"] == "Job":
        return bool(status.get("succeeded"))
    return True


def _words(everything: list[Object], namespace: str) -> list[tuple[str, str]]:
    """What to replace by what; the longest first, since a pod's name begins with its ReplicaSet's."""
    words = {namespace: "NAMESPACE"}
    for item in everything:
        metadata = item["metadata"]
        generated = item["kind"] in ("Pod", "ReplicaSet")
        words[metadata["uid"]] = f"uid of {item['kind']}" + ("" if generated else f" {metadata['name']}")
        if generated:
            words[metadata["name"]] = f"{item['kind']} of {_owner(item)}"
        elif DIGESTED_NAME.search(metadata["name"]):
            words[metadata["name"]] = f"{undigested(metadata['name'])}, which is there"
    return sorted(words.items(), key=lambda pair: -len(pair[0]))


def _owner(item: Object) -> str:
    references = item["metadata"].get("ownerReferences") or ()
    # A ReplicaSet's name would not be the same in another run.
    return next((r["kind"] if item["kind"] == "Pod" else str(r["name"]) for r in references), "nobody")


def _object(item: Object) -> Any:
    metadata, kind = item["metadata"], item["kind"]
    kept: Object = {"kind": kind, "name": metadata["name"], "labels": _map(metadata.get("labels"))}
    kept["annotations"] = _map(metadata.get("annotations"))
    kept["owners"] = [f"{r['kind']} {r['uid']}" for r in metadata.get("ownerReferences") or ()]
    kept["finalizers"] = metadata.get("finalizers") or []
    kept["leaving"] = "deletionTimestamp" in metadata
    kept["owned"] = sorted(
        (entry.get("subresource", ""), json.dumps(entry.get("fieldsV1"), sort_keys=True))
        for entry in metadata.get("managedFields") or ()
        if entry["manager"] == OPERATOR
    )
    if item["apiVersion"] == API:
        kept["generation"] = metadata["generation"]
    if kind == "Pod":
        # Its template is the ReplicaSet's.
        return {**kept, "phase": (item.get("status") or {}).get("phase")}
    for part in ("spec", "data", "binaryData"):
        if part in item:
            kept[part] = _value(item[part])
    kept["status"] = _status(item)
    return kept


def _status(item: Object) -> Any:
    status, kind = item.get("status") or {}, item["kind"]
    if item["apiVersion"] == API:
        return _value(status)
    if kind in ("Deployment", "ReplicaSet"):
        return {name: status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    if kind == "Job":
        return {name: status.get(name, 0) for name in ("succeeded", "failed", "active")}
    return status.get("phase")


def _map(values: Mapping[str, str] | None) -> dict[str, str]:
    found = {}
    for key, value in (values or {}).items():
        if not NOTES.match(key):
            found[key] = "HASH" if key in DIGESTS | HASH_LABELS else value
    return found


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("name") in DIGEST_VARIABLES:
            return {"name": value["name"], "value": "HASH"}
        return {key: _field(key, inner) for key, inner in value.items() if key not in ASSIGNED}
    if isinstance(value, list):
        return [_value(inner) for inner in value]
    return TIME.sub("TIME", value) if isinstance(value, str) else value


def _field(key: str, value: Any) -> Any:
    if key in ("labels", "annotations", "matchLabels", "selector") and isinstance(value, Mapping):
        return (
            _value(_map(value)) if all(isinstance(inner, str) for inner in value.values()) else _value(value)
        )
    if key == "startup" and isinstance(value, Mapping):
        # Seconds that this run took.
        return sorted(value)
    return _value(value)
