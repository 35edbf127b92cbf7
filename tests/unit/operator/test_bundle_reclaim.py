"""What becomes of a bundle's volume when the bundle goes, and of one that was there before it."""

from typing import Any

import pytest
from bundle_world import rounds, status
from operator_fakes import bundle, timestamp
from operator_world import BUNDLE, World, a_world

from sd_operator import names


@pytest.fixture
async def world() -> World:
    world = a_world()
    await world.settle()
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    return world


async def test_a_bundle_is_no_longer_ready_to_go_while_its_volume_is_in_use(world: World) -> None:
    cluster = world.cluster
    cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": "Delete"})
    await rounds(world)
    assert cluster.one(names.MODELBUNDLE, "sd15")["metadata"]["finalizers"] == [names.FINALIZER]
    cluster.ask_to_go(names.MODELBUNDLE, "sd15")
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Reconciling", "InUse")
    assert cluster.one(names.CLAIM, "sd15-models")
    cluster.remove(names.SDINSTANCE, "ns", "demo")
    await rounds(world)
    assert cluster.all(names.MODELBUNDLE) == []
    assert cluster.all(names.CLAIM) == []


async def test_a_bundle_that_keeps_its_volume_has_no_finalizer(world: World) -> None:
    cluster = world.cluster
    for policy, finalizers in (("Delete", [names.FINALIZER]), ("Retain", [])):
        cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": policy})
        await rounds(world)
        assert cluster.one(names.MODELBUNDLE, "sd15")["metadata"].get("finalizers") == finalizers


async def test_finalizers_of_others_stay() -> None:
    world = a_world()
    live = world.cluster.one(names.MODELBUNDLE, "sd15")
    live["metadata"]["finalizers"] = ["example.org/mine", names.FINALIZER]
    await world.settle()
    assert live["metadata"]["finalizers"] == ["example.org/mine"]


async def test_a_volume_that_pods_mount_whatever_the_spec_says_by_now_is_in_use(world: World) -> None:
    cluster = world.cluster
    cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": "Delete"})
    cluster.edit(names.SDINSTANCE, "demo", models=[{"name": "absent"}])
    await rounds(world)
    cluster.ask_to_go(names.MODELBUNDLE, "sd15")
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Reconciling", "InUse")
    assert "SDInstance demo" in status(world)["conditions"][0]["message"]


async def test_a_volume_that_another_bundle_uses_is_in_use(world: World) -> None:
    cluster = world.cluster
    cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": "Delete"})
    cluster.remove(names.SDINSTANCE, "ns", "demo")
    cluster.add(bundle("borrower", storage={"existingClaim": "sd15-models"}))
    await rounds(world)
    cluster.ask_to_go(names.MODELBUNDLE, "sd15")
    await rounds(world)
    assert "ModelBundle borrower" in status(world)["conditions"][0]["message"]
    cluster.remove(names.MODELBUNDLE, "ns", "borrower")
    await rounds(world)
    assert cluster.all(names.MODELBUNDLE) == []


async def test_the_end_of_a_volume_is_told_while_it_goes(world: World) -> None:
    cluster = world.cluster
    cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": "Delete"})
    await rounds(world)
    claim = cluster.one(names.CLAIM, "sd15-models")
    cluster.ask_to_go(names.MODELBUNDLE, "sd15")
    claim["metadata"]["deletionTimestamp"] = timestamp()
    await world.bundles.reconcile(BUNDLE)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Reconciling", "WaitingForDeletion")
    assert "stays while pods mount it: those of SDInstance demo" in status(world)["conditions"][0]["message"]


async def test_a_policy_that_changes_at_the_end_decides(world: World) -> None:
    cluster = world.cluster
    cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": "Delete"})
    await rounds(world)
    cluster.ask_to_go(names.MODELBUNDLE, "sd15")
    cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": "Retain"})
    await rounds(world)
    assert cluster.all(names.MODELBUNDLE) == []
    assert len(cluster.all(names.CLAIM)) == 1


async def test_a_bundle_that_cannot_be_read_goes_and_leaves_its_volume(world: World) -> None:
    cluster = world.cluster
    cluster.edit(names.MODELBUNDLE, "sd15", storage={"size": "20Gi", "reclaimPolicy": "Delete"})
    await rounds(world)
    cluster.ask_to_go(names.MODELBUNDLE, "sd15")
    cluster.one(names.MODELBUNDLE, "sd15")["spec"] = {"files": 5}
    await rounds(world)
    assert cluster.all(names.MODELBUNDLE) == []
    assert len(cluster.all(names.CLAIM)) == 1


def a_claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Gi"}}},
    }


async def test_an_existing_claim_is_waited_for_used_as_it_is_and_never_deleted() -> None:
    world = a_world()
    cluster = world.cluster
    cluster.remove(names.MODELBUNDLE, "ns", "sd15")
    cluster.add(bundle(storage={"existingClaim": "shared"}))
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Reconciling", "ClaimNotFound")
    cluster.add(a_claim("shared"))
    await world.settle()
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    assert ("apply", "PersistentVolumeClaim", "shared") not in cluster.writes
    deployment = cluster.one(names.DEPLOYMENT, "demo")
    (volume,) = [v for v in deployment["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in v]
    assert volume["persistentVolumeClaim"] == {"claimName": "shared"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["claim.sdoperator.dev/shared"] == "true"
    cluster.remove(names.SDINSTANCE, "ns", "demo")
    cluster.remove(names.MODELBUNDLE, "ns", "sd15")
    await rounds(world)
    assert [claim["metadata"]["name"] for claim in cluster.all(names.CLAIM)] == ["shared"]
