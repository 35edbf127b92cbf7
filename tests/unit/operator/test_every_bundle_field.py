"""Every field of ModelBundle.spec does something: its change reaches a Job, the claim or the bundle's
finalizer. A new object of the new value is as the edited one.
"""

import copy
from typing import Any

import pytest
from operator_controllers import Controllers
from operator_fakes import SHA, FakeCluster, FakeFetchPods, bundle, file
from schema_leaves import leaves

from sd_operator import names
from sd_operator.api import crds
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.reconcile import BundleReconciler
from sd_operator.names import Key

Spec = dict[str, Any]
HF = {"repo": "owner/name", "revision": "main", "path": "m.safetensors"}
S3 = {"bucket": "models", "key": "m.safetensors"}
VOLUME = {"claimName": "other", "path": "m.safetensors"}
CIVITAI = {"modelVersionId": 1}
TAINT = {"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoExecute", "tolerationSeconds": 5}


def of_file(before: Spec, after: Spec) -> tuple[Spec, Spec]:
    return {"files": [file(**before)]}, {"files": [file(**after)]}


def of_source(kind: str, before: Spec, **change: Any) -> dict[str, tuple[Spec, Spec]]:
    """The change of a source's field, as the source and as a mirror of one."""
    (field,) = change
    source, changed = {kind: before}, {kind: {**before, **change}}
    named = {"fileName": "x.safetensors"}
    return {
        f"files[].source.{kind}.{field}": of_file({"source": source, **named}, {"source": changed, **named}),
        f"files[].mirrors[].{kind}.{field}": of_file({"mirrors": [source]}, {"mirrors": [changed]}),
    }


def of_fetch(before: Spec, after: Spec) -> tuple[Spec, Spec]:
    return {"fetch": before}, {"fetch": after}


def of_toleration(field: str, value: Any) -> dict[str, tuple[Spec, Spec]]:
    changed = {**TAINT, field: value}
    return {
        f"fetch.tolerations[].{field}": of_fetch({"tolerations": [TAINT]}, {"tolerations": [changed]}),
    }


def of_storage(before: Spec, after: Spec) -> tuple[Spec, Spec]:
    return {"storage": {"size": "20Gi", **before}}, {"storage": {"size": "20Gi", **after}}


#: Path of a leaf → the spec before and after its change.
CHANGES: dict[str, tuple[Spec, Spec]] = {
    "family": ({}, {"family": "SD15"}),
    "files[].name": ({}, {"files": [file("another")]}),
    "files[].type": of_file({}, {"type": "LoRA"}),
    "files[].family": of_file({}, {"family": "SDXL"}),
    **of_source("http", {"url": "https://a.org/m.safetensors"}, url="https://b.org/m.safetensors"),
    **of_source("huggingFace", HF, repo="owner/other"),
    **of_source("huggingFace", HF, revision="v2"),
    **of_source("huggingFace", HF, path="n.safetensors"),
    **of_source("huggingFace", HF, endpoint="https://mirror.example.org"),
    **of_source("civitai", CIVITAI, modelVersionId=2),
    **of_source("civitai", {"sha256": SHA}, sha256="b" * 64),
    **of_source("civitai", CIVITAI, fileName="n.safetensors"),
    **of_source("civitai", CIVITAI, endpoint="https://mirror.example.org"),
    **of_source("s3", S3, bucket="others"),
    **of_source("s3", S3, key="n.safetensors"),
    **of_source("s3", S3, endpoint="https://minio.example.org"),
    **of_source("s3", S3, region="eu-west-1"),
    **of_source("s3", S3, pathStyle=True),
    **of_source("volume", VOLUME, claimName="third"),
    **of_source("volume", VOLUME, path="n.safetensors"),
    "files[].sha256": of_file({}, {"sha256": SHA}),
    "files[].fileName": of_file({}, {"fileName": "x.safetensors"}),
    "formatPolicy": ({}, {"formatPolicy": "ScanPickle"}),
    "credentialSecrets[].name": ({}, {"credentialSecrets": [{"name": "token"}]}),
    "storage.size": of_storage({}, {"size": "30Gi"}),
    "storage.storageClassName": of_storage({}, {"storageClassName": "fast"}),
    "storage.accessModes[]": of_storage({}, {"accessModes": ["ReadWriteMany"]}),
    "storage.existingClaim": of_storage({}, {"existingClaim": "shared"}),
    "storage.reclaimPolicy": of_storage({}, {"reclaimPolicy": "Delete"}),
    "fetch.connections": of_fetch({}, {"connections": 8}),
    "fetch.resources.limits{}": of_fetch({}, {"resources": {"limits": {"memory": "1Gi"}}}),
    "fetch.resources.requests{}": of_fetch({}, {"resources": {"requests": {"cpu": "1"}}}),
    "fetch.nodeSelector{}": of_fetch({}, {"nodeSelector": {"pool": "fetch"}}),
    **of_toleration("key", "other"),
    **of_toleration("operator", "Exists"),
    **of_toleration("value", "b"),
    **of_toleration("effect", "NoSchedule"),
    **of_toleration("tolerationSeconds", 6),
    "fetch.imagePullSecrets[].name": of_fetch({}, {"imagePullSecrets": [{"name": "pull"}]}),
    "fetch.proxy.http": of_fetch({}, {"proxy": {"http": "http://p:3128"}}),
    "fetch.proxy.https": of_fetch({}, {"proxy": {"https": "http://p:3128"}}),
    "fetch.proxy.noProxy[]": of_fetch({}, {"proxy": {"noProxy": [".example.org"]}}),
    "fetch.caBundle.name": of_fetch({}, {"caBundle": {"name": "ca"}}),
    "fetch.caBundle.key": of_fetch(
        {"caBundle": {"name": "ca"}}, {"caBundle": {"name": "ca", "key": "x.pem"}}
    ),
}
#: Those that decide when something is done, each with a test in test_bundle_upkeep.py.
TIMES = {"fetch.parallelism", "verify.interval", "removeAfter"}


class World:
    """One bundle whose Jobs get no pod, and the operator."""

    def __init__(self, spec: Spec) -> None:
        self.cluster = FakeCluster()
        self.cluster.add(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "shared"},
                "spec": {"accessModes": ["ReadWriteOnce"]},
            }
        )
        self.cluster.add(bundle(**copy.deepcopy(spec)))
        settings = FetchSettings(image="operator:1", image_pull_policy="Never", hf_endpoint="https://hf.co")
        self.bundles = BundleReconciler(self.cluster, FakeFetchPods(), settings, recheck_seconds=60)
        self.controllers = Controllers(self.cluster)

    async def settle(self) -> None:
        for _ in range(4):
            await self.bundles.reconcile(Key("ModelBundle", "ns", "sd15"))
            self.controllers.cluster.collect_garbage()

    def put(self, spec: Spec) -> None:
        live = self.cluster.one(names.MODELBUNDLE, "sd15")
        live["spec"] = copy.deepcopy(bundle(**spec)["spec"])
        live["metadata"]["generation"] += 1

    def content(self) -> dict[str, Any]:
        """What the bundle makes, without what differs from run to run."""
        jobs = {job["metadata"]["name"]: job["spec"] for job in self.cluster.all(names.JOB)}
        claims = {claim["metadata"]["name"]: claim["spec"] for claim in self.cluster.all(names.CLAIM)}
        finalizers = self.cluster.one(names.MODELBUNDLE, "sd15")["metadata"].get("finalizers")
        return copy.deepcopy({"jobs": jobs, "claims": claims, "finalizers": finalizers})


def test_the_table_has_every_field_of_the_schema_and_no_other() -> None:
    crd = crds.definitions()["sdoperator.dev_modelbundles.yaml"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(leaves(schema["properties"]["spec"])) == set(CHANGES) | TIMES


@pytest.mark.parametrize("path", sorted(CHANGES))
async def test_a_change_is_seen(path: str) -> None:
    before, after = CHANGES[path]
    world, fresh = World(before), World(after)
    await world.settle()
    await fresh.settle()
    first = world.content()
    assert first["jobs"]
    world.put(after)
    await world.settle()
    assert world.content() != first
    changed, new = world.content(), fresh.content()
    assert (changed["jobs"], changed["finalizers"]) == (new["jobs"], new["finalizers"])
