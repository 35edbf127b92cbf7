"""Every field of SDInstance.spec does something: its change reaches a child, a running pod, or a condition
that names it. And it leaves no trace: back at the old value everything is as before, and a new object of the
new value is as the edited one.
"""

import copy
from typing import Any

import pytest
from instance_fields import CHANGES, ONLY_NEW, ONLY_UP, Spec
from operator_controllers import Controllers
from operator_fakes import FakeCluster, FakeFetchPods, FakeRuntimes, bundle, file, instance, plugin
from schema_leaves import leaves

from sd_operator import names
from sd_operator.api import crds
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.reconcile import BundleReconciler
from sd_operator.instance.children.deployment import RuntimeSettings
from sd_operator.instance.reconcile import InstanceReconciler
from sd_operator.names import Key


def test_the_table_has_every_field_of_the_schema_and_no_other() -> None:
    crd = crds.definitions()["sdoperator.dev_sdinstances.yaml"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(leaves(schema["properties"]["spec"])) == set(CHANGES)


class World:
    """Bundles with three checkpoints, one instance, and the operator."""

    def __init__(self, spec: Spec) -> None:
        self.cluster = FakeCluster()
        self.runtimes = FakeRuntimes()
        self.fetch_pods = FakeFetchPods()
        self.cluster.add(bundle(files=[file(), file("second")]))
        self.cluster.add(bundle("more", files=[file("other")]))
        self.cluster.add(plugin())
        for_all = plugin(image="of-the-catalog:1")
        for_all["metadata"]["namespace"] = "catalog"
        self.cluster.add(for_all)
        self.cluster.add(instance(**copy.deepcopy(spec)))
        fetch = FetchSettings(image="operator:1", image_pull_policy="Never", hf_endpoint="https://hf.co")
        runtime = RuntimeSettings(image="runtime:1", image_pull_policy="Never", catalog_namespace="catalog")
        self.bundles = BundleReconciler(self.cluster, self.fetch_pods, fetch, recheck_seconds=60)
        self.instances = InstanceReconciler(self.cluster, self.runtimes, runtime, recheck_seconds=60)
        self.controllers = Controllers(self.cluster)

    async def settle(self) -> None:
        for _ in range(6):
            await self.bundles.reconcile(Key("ModelBundle", "ns", "sd15"))
            await self.bundles.reconcile(Key("ModelBundle", "ns", "more"))
            await self.instances.reconcile(Key("SDInstance", "ns", "demo"))
            self.controllers.step()

    def put(self, spec: Spec) -> None:
        """The user's object becomes exactly this."""
        live = self.cluster.one(names.SDINSTANCE, "demo")
        live["spec"] = copy.deepcopy(instance(**spec)["spec"])
        live["metadata"]["generation"] += 1

    def content(self) -> dict[str, Any]:
        """Everything that an instance makes, without what differs from run to run."""
        volatile = {"uid", "creationTimestamp", "generation", "SD_MANAGEMENT_TOKEN_SHA256", "status"}
        hashes = {names.ANNOTATION_APPLIED, names.ANNOTATION_CLAIM_UID, names.ANNOTATION_TEMPLATE}

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                kept = {key: plain(item) for key, item in value.items() if key not in volatile | hashes}
                return {} if value.get("name") in volatile else kept
            return [plain(item) for item in value] if isinstance(value, list) else value

        kinds = ("pods", "sdinstances", "modelbundles", "jobs")
        objects = {str(key): plain(item) for key, item in self.cluster.objects.items() if key[0] not in kinds}
        told = {
            ip: {key: value for key, value in wish.items() if key != "generation"}
            for ip, wish in self.runtimes.told.items()
        }
        return {"objects": objects, "told": told}

    def conditions(self) -> str:
        conditions = self.cluster.one(names.SDINSTANCE, "demo")["status"]["conditions"]
        return " ".join(condition["message"] for condition in conditions)


@pytest.mark.parametrize("path", sorted(CHANGES))
async def test_a_change_is_seen_and_leaves_no_trace_when_it_is_taken_back(path: str) -> None:
    before, after = CHANGES[path]
    fresh, world = World(after), World(before)
    await fresh.settle()
    await world.settle()
    first = world.content()
    named = f"spec.{path.partition('[')[0].partition('{')[0]}"
    if path in ONLY_NEW:
        assert fresh.content() != first
        return
    world.put(after)
    await world.settle()
    changed = world.content()
    assert changed != first or named in world.conditions()
    if path != "suspend":
        assert changed["objects"] == fresh.content()["objects"]
    world.put(before)
    await world.settle()
    if path in ONLY_UP:
        assert f"{named}: 1Gi is ignored" in world.conditions()
    else:
        assert world.content()["objects"] == first["objects"]
