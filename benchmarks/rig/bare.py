"""The alternative to the operator: a script that creates the same child objects, and nothing more.

The manifests are the operator's own children of one instance, renamed. What the API server, the scheduler
and the controllers need for them is needed either way; the rest of the operator's time is its own.
"""

import asyncio
import copy
import json
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.rig.kube import Kube, KubeError, Object

#: What the operator makes for an instance may be of these kinds; one that the cluster lacks is passed over.
CHILDREN = (
    ("apps/v1", "deployments"),
    ("v1", "services"),
    ("v1", "configmaps"),
    ("v1", "serviceaccounts"),
    ("v1", "persistentvolumeclaims"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("networking.k8s.io/v1", "ingresses"),
    ("policy/v1", "poddisruptionbudgets"),
    ("resource.k8s.io/v1", "resourceclaimtemplates"),
)
AT_ONCE = 16
MANAGED_BY = "app.kubernetes.io/managed-by"

Child = tuple[str, Object]


async def children_of(kube: Kube, owner: Object) -> list[Child]:
    """Plural and manifest of each object that the owner controls, without what the API server adds."""
    found: list[Child] = []
    for api_version, plural in CHILDREN:
        try:
            items = await kube.find(api_version, plural, owner["metadata"]["namespace"])
        except KubeError as error:
            if error.status != 404:
                raise
            continue
        found += [(plural, _bare(item)) for item in items if _is_child(item, owner)]
    return found


def _is_child(item: Object, owner: Object) -> bool:
    uids = [reference["uid"] for reference in item["metadata"].get("ownerReferences") or ()]
    return owner["metadata"]["uid"] in uids


def _bare(item: Object) -> Object:
    manifest = copy.deepcopy(item)
    manifest.pop("status", None)
    metadata = manifest["metadata"]
    manifest["metadata"] = {
        key: metadata[key] for key in ("name", "namespace", "labels", "annotations") if key in metadata
    }
    spec = manifest.get("spec", {})
    for assigned in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "volumeName"):
        # A headless Service says so itself.
        if spec.get(assigned) not in ("None", ["None"]):
            spec.pop(assigned, None)
    for port in spec.get("ports") or () if manifest["kind"] == "Service" else ():
        port.pop("nodePort", None)
    return manifest


def renamed(children: Iterable[Child], *, old: str, new: str, namespace: str) -> list[Child]:
    """The same children for another instance."""
    found = []
    for plural, manifest in children:
        # The instance's name is in names, labels and selectors, and is a word that nothing else has in it.
        copied: Any = json.loads(json.dumps(manifest).replace(old, new))
        copied["metadata"]["namespace"] = namespace
        found.append((plural, copied))
    return found


async def create(kube: Kube, children: list[Child], *, old: str, namespace: str, count: int) -> float:
    """Seconds from the first object to the last Deployment that is available."""
    numbers = iter(range(count))
    ready = asyncio.create_task(_available(kube, namespace, count), name="bare deployments")

    async def work() -> None:
        for number in numbers:
            new = f"{old}-{number}"
            for plural, manifest in renamed(children, old=old, new=new, namespace=namespace):
                await kube.create(plural, manifest)

    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    await ready
    return time.monotonic() - begun


async def _available(kube: Kube, namespace: str, count: int) -> None:
    done: set[str] = set()
    async for event in kube.watch("apps/v1", "deployments", namespace):
        deployment = event["object"]
        if (deployment.get("status") or {}).get("availableReplicas"):
            done.add(deployment["metadata"]["name"])
        if len(done) >= count:
            return
