"""Whole reconciles of a bundle in trouble: what it says, what it goes on with, and how it recovers."""

import copy
from typing import Any

import pytest
from operator_controllers import Controllers
from operator_fakes import (
    OTHER_SHA,
    FakeCluster,
    FakeFetchPods,
    bundle,
    file,
    instance,
    timestamp,
)

from sd_operator import failing, names
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.reconcile import BundleReconciler
from sd_operator.errors import RefusedError, TransientError
from sd_operator.names import Key

BUNDLE = Key("ModelBundle", "ns", "sd15")
SETTINGS = FetchSettings(image="operator:1", image_pull_policy="Never", hf_endpoint="https://hf.example.org")
NOT_EXPANDABLE = RefusedError(
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
    "support resize",
    status=403,
)


class World:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.add(bundle())
        self.controllers = Controllers(self.cluster)
        self.fetch_pods = FakeFetchPods()
        self.bundles = BundleReconciler(self.cluster, self.fetch_pods, SETTINGS, recheck_seconds=60)

    async def settle(self) -> None:
        for _ in range(5):
            await self.bundles.reconcile(BUNDLE)
            self.controllers.step()

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.one(names.MODELBUNDLE, "sd15")["status"]
        return found

    @property
    def held(self) -> dict[str, Any]:
        (found,) = [
            condition
            for condition in self.status["conditions"]
            if condition["status"] == "True" and condition["type"] != "FormatsSafe"
        ]
        condition: dict[str, Any] = found
        return condition

    @property
    def files(self) -> dict[str, str]:
        return {file["name"]: file["state"] for file in self.status["files"]}


@pytest.fixture
async def world() -> World:
    world = World()
    await world.settle()
    assert world.held["type"] == "Ready"
    return world


async def test_a_growth_that_is_refused_is_told_and_the_files_are_fetched_all_the_same(world: World) -> None:
    world.cluster.refuse["PersistentVolumeClaim"] = NOT_EXPANDABLE
    storage = {"size": "40Gi", "accessModes": ["ReadWriteOnce"]}
    world.cluster.edit(names.MODELBUNDLE, "sd15", storage=storage, files=[file(), file("two")])
    await world.settle()
    assert (world.held["type"], world.held["reason"]) == ("Ready", "FilesVerified")
    assert "spec.storage.size: the volume stays at 20Gi, because 40Gi was refused" in world.held["message"]
    assert "must support resize" in world.held["message"]
    assert world.files == {"base": "Verified", "two": "Verified"}
    world.cluster.writes.clear()
    await world.settle()
    assert world.cluster.writes == []


async def test_a_size_that_goes_back_is_as_if_nothing_had_been(world: World) -> None:
    before = world.held["message"]
    world.cluster.refuse["PersistentVolumeClaim"] = NOT_EXPANDABLE
    for size in ("40Gi", "20Gi"):
        world.cluster.edit(
            names.MODELBUNDLE, "sd15", storage={"size": size, "accessModes": ["ReadWriteOnce"]}
        )
        await world.settle()
    assert (world.held["type"], world.held["message"]) == ("Ready", before)


async def test_a_smaller_size_is_ignored_and_said_so(world: World) -> None:
    world.cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "10Gi", "accessModes": ["ReadWriteOnce"]})
    world.cluster.writes.clear()
    await world.settle()
    assert world.held["type"] == "Ready"
    assert "spec.storage.size: 10Gi is ignored" in world.held["message"]
    assert {kind for _, kind, _ in world.cluster.writes} == {"ModelBundle"}


async def test_a_claim_that_is_refused_from_the_start_stalls_the_bundle() -> None:
    world = World()
    world.cluster.refuse["PersistentVolumeClaim"] = RefusedError("exceeded quota", status=403)
    await world.settle()
    assert (world.held["type"], world.held["reason"]) == ("Stalled", "ChildRejected")
    assert "exceeded quota" in world.held["message"]


@pytest.mark.parametrize("going", [True, False], ids=["being deleted", "lost"])
async def test_our_own_ended_pods_do_not_hold_a_claim_that_should_go(world: World, going: bool) -> None:
    world.cluster.add(instance())
    claim = world.cluster.one(names.CLAIM, "sd15-models")
    if going:
        claim["metadata"]["deletionTimestamp"] = timestamp()
    else:
        claim["status"]["phase"] = "Lost"
    await world.bundles.reconcile(BUNDLE)
    world.cluster.collect_garbage()
    assert world.cluster.all(names.JOB) == []
    assert world.cluster.all(names.POD) == []
    assert world.files == {"base": "Pending"}
    assert ("SDInstance demo" in world.held["message"]) is going
    world.cluster.writes.clear()
    await world.bundles.reconcile(BUNDLE)
    assert world.cluster.writes == []
    world.cluster.remove(names.CLAIM, "ns", "sd15-models")
    await world.settle()
    assert (world.held["type"], world.files) == ("Ready", {"base": "Verified"})


async def test_a_refused_spec_says_nothing_of_files_it_no_longer_asks_for(world: World) -> None:
    clash = [
        file("base", sha256=OTHER_SHA),
        file("new", fileName="base.safetensors"),
    ]
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=clash)
    await world.settle()
    assert world.held["reason"] == "PathConflict"
    assert world.files == {"base": "Pending", "new": "Pending"}


async def test_a_refused_spec_keeps_what_is_still_true(world: World) -> None:
    clash = [file("base"), file("new", fileName="base.safetensors")]
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=clash)
    await world.settle()
    assert world.files == {"base": "Verified", "new": "Pending"}


async def test_a_job_that_lost_its_owner_is_taken_back(world: World) -> None:
    job = world.cluster.all(names.JOB)[0]
    del job["metadata"]["ownerReferences"]
    uid = job["metadata"]["uid"]
    await world.settle()
    (again,) = world.cluster.all(names.JOB)
    assert again["metadata"]["uid"] == uid
    assert again["metadata"]["ownerReferences"][0]["kind"] == "ModelBundle"
    assert (world.held["type"], world.files) == ("Ready", {"base": "Verified"})


async def test_a_job_without_owner_goes_when_its_file_is_no_longer_wished_for(world: World) -> None:
    job = world.cluster.all(names.JOB)[0]
    del job["metadata"]["ownerReferences"]
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file("two")])
    await world.settle()
    assert [job["metadata"]["labels"][names.LABEL_SD_FILE] for job in world.cluster.all(names.JOB)] == ["two"]
    assert world.files == {"two": "Verified"}


async def test_a_failure_that_was_told_is_taken_back_by_the_next_success(world: World) -> None:
    before = copy.deepcopy(world.status)
    await failing.tell(world.cluster, BUNDLE, TransientError("etcd is full"))
    assert world.held["reason"] == "ReconcileError"
    await world.bundles.reconcile(BUNDLE)
    assert world.held["type"] == "Ready"
    assert {**world.status, "conditions": []} == {**before, "conditions": []}
