"""Whole reconciles against the fake API server: they settle, stay settled, repair, and clean up."""

import copy

import pytest
from operator_fakes import SHA, FakeCluster, bundle, file, instance, timestamp
from operator_world import BUNDLE, INSTANCE, ROUNDS, World, a_world

from sd_operator import names
from sd_operator.errors import ConflictError, RefusedError
from sd_operator.instance.reconcile import SHORTEST_POLL
from sd_operator.names import Key
from sd_operator.runtime_client import RuntimeState


async def test_a_bundle_and_an_instance_become_ready() -> None:
    world = a_world()
    await world.settle()
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Ready", "FilesVerified")
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    status = world.cluster.one(names.MODELBUNDLE, "sd15")["status"]
    assert status["usedBy"] == ["demo"]
    uid = world.cluster.one(names.CLAIM, "sd15-models")["metadata"]["uid"]
    assert status["volume"] == {"claimName": "sd15-models", "uid": uid, "capacity": "20Gi"}
    assert status["progress"] == {
        "files": "1/1",
        "percent": 100,
        "size": "1000",
        "bytes": 1000,
        "totalBytes": 1000,
    }
    assert [(f["name"], f["state"], f["sha256"]) for f in status["files"]] == [("base", "Verified", SHA)]
    status = world.cluster.one(names.SDINSTANCE, "demo")["status"]
    assert status["observedGeneration"] == 1
    assert status["selector"] == "sdoperator.dev/instance=demo"
    assert status["endpoint"] == "http://demo.ns.svc:7860"
    assert status["models"] == {
        "desired": 1,
        "loaded": 1,
        "checkpoint": {"file": "sd15/base", "sha256": SHA},
        "files": {"desired": 0, "loaded": 0},
    }
    assert status["startup"] == {"loadSeconds": 2, "warmUpSeconds": 1}
    assert status["acceleration"] == {"device": "cpu", "name": "a device"}


async def test_a_settled_world_is_read_and_not_written() -> None:
    world = a_world()
    await world.settle()
    world.cluster.writes.clear()
    world.restart()
    for _ in range(3):
        await world.round()
    assert world.cluster.writes == []


async def test_a_created_instance_costs_one_write_a_child_and_one_of_its_status() -> None:
    world = a_world()
    for _ in range(ROUNDS):
        await world.bundles.reconcile(BUNDLE)
        world.controllers.step()
    world.cluster.writes.clear()
    await world.settle()
    mine = [f"{verb} {kind}" for verb, kind, _ in world.cluster.writes if kind != "ModelBundle"]
    assert mine == [
        "apply ServiceAccount",
        "apply ConfigMap",
        "apply NetworkPolicy",
        "apply Deployment",
        "apply Service",
        "apply-status SDInstance",
    ]


async def test_an_instance_whose_first_pod_does_not_come_says_so_all_the_same() -> None:
    world = a_world()
    await world.bundles.reconcile(BUNDLE)
    world.controllers.step()
    await world.bundles.reconcile(BUNDLE)
    assert await world.instances.reconcile(INSTANCE) == SHORTEST_POLL
    assert "conditions" not in world.cluster.one(names.SDINSTANCE, "demo")["status"]
    world.cluster.one(names.DEPLOYMENT, "demo")["metadata"]["creationTimestamp"] = timestamp(ago=10)
    await world.instances.reconcile(INSTANCE)
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "Loading")


async def test_the_deployment_waits_for_the_checkpoint() -> None:
    world = a_world()
    await world.bundles.reconcile(BUNDLE)
    await world.instances.reconcile(INSTANCE)
    assert world.cluster.all(names.DEPLOYMENT) == []
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "BundleNotReady")


async def test_an_instance_waits_for_a_bundle_that_comes_later() -> None:
    cluster = FakeCluster()
    cluster.add(instance())
    world = World(cluster)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "BundleNotFound")
    cluster.add(bundle())
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")


async def test_every_child_that_is_edited_or_removed_by_hand_is_restored() -> None:
    world = a_world()
    await world.settle()
    cluster = world.cluster
    cluster.one(names.DEPLOYMENT, "demo")["spec"]["replicas"] = 5
    cluster.remove(names.SERVICE, "ns", "demo")
    await world.settle()
    assert cluster.one(names.DEPLOYMENT, "demo")["spec"]["replicas"] == 1
    assert cluster.one(names.SERVICE, "demo")
    assert world.verdict(names.SDINSTANCE, "demo")[0] == "Ready"


async def test_a_pod_that_is_seen_before_it_is_counted_costs_no_status_of_its_own() -> None:
    world = a_world()
    for _ in range(3):
        await world.bundles.reconcile(BUNDLE)
        world.controllers.step()
    await world.instances.reconcile(INSTANCE)
    world.controllers.step()
    deployment = world.cluster.one(names.DEPLOYMENT, "demo")
    deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"]}
    world.runtimes.answer = RuntimeState(health="Loading")
    world.cluster.writes.clear()
    await world.instances.reconcile(INSTANCE)
    assert world.cluster.writes == []
    world.controllers.step()
    await world.instances.reconcile(INSTANCE)
    assert [write[:2] for write in world.cluster.writes] == [("apply-status", "SDInstance")]


async def test_a_job_that_is_removed_by_hand_is_missed_only_while_its_file_is_not_verified() -> None:
    world = a_world()
    await world.settle()
    world.cluster.remove(names.JOB, "ns", world.cluster.all(names.JOB)[0]["metadata"]["name"])
    world.cluster.writes.clear()
    await world.settle()
    assert (world.cluster.all(names.JOB), world.cluster.writes) == ([], [])
    world.cluster.one(names.MODELBUNDLE, "sd15")["status"]["files"] = []
    await world.settle()
    assert len(world.cluster.all(names.JOB)) == 1
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"


async def test_what_others_add_is_undone_where_it_changes_what_the_child_does() -> None:
    world = a_world()
    await world.settle()
    deployment, service = (
        world.cluster.one(names.DEPLOYMENT, "demo"),
        world.cluster.one(names.SERVICE, "demo"),
    )
    before = copy.deepcopy((deployment["spec"], service["spec"]))
    pod = deployment["spec"]["template"]["spec"]
    deployment["spec"]["paused"] = True
    pod["nodeSelector"] = {"disk": "none"}
    pod["containers"][0].update(command=["sleep"], args=["1000"])
    service["spec"]["selector"] = {**service["spec"]["selector"], "app": "other"}
    await world.settle()
    assert (deployment["spec"], service["spec"]) == before
    world.cluster.writes.clear()
    await world.settle()
    assert world.cluster.writes == []


async def test_what_others_add_to_a_child_is_left_alone() -> None:
    world = a_world()
    await world.settle()
    world.cluster.one(names.DEPLOYMENT, "demo")["metadata"]["annotations"]["team"] = "art"
    world.cluster.writes.clear()
    await world.settle()
    assert world.cluster.writes == []


async def test_deleting_the_instance_leaves_no_child_and_deleting_the_bundle_leaves_the_volume() -> None:
    world = a_world()
    await world.settle()
    world.cluster.remove(names.SDINSTANCE, "ns", "demo")
    world.cluster.remove(names.MODELBUNDLE, "ns", "sd15")
    await world.settle()
    left = {item["kind"] for item in world.cluster.objects.values()}
    assert left == {"PersistentVolumeClaim"}


async def test_a_bundle_of_the_same_name_finds_its_volume_again() -> None:
    world = a_world()
    await world.settle()
    uid = world.cluster.one(names.CLAIM, "sd15-models")["metadata"]["uid"]
    world.cluster.remove(names.MODELBUNDLE, "ns", "sd15")
    world.cluster.add(bundle())
    await world.settle()
    assert world.cluster.one(names.CLAIM, "sd15-models")["metadata"]["uid"] == uid
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"


async def test_a_changed_file_is_fetched_by_another_job_and_the_old_one_goes() -> None:
    world = a_world()
    await world.settle()
    old = world.cluster.all(names.JOB)[0]["metadata"]["name"]
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file(sha256=SHA.upper())])
    await world.settle()
    new = [job["metadata"]["name"] for job in world.cluster.all(names.JOB)]
    assert len(new) == 1 and new != [old]
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"


async def test_children_that_lost_their_owner_are_taken_back() -> None:
    world = a_world()
    await world.settle()
    children = [world.cluster.one(kind, "demo") for kind in (names.DEPLOYMENT, names.SERVICE)]
    for child in children:
        del child["metadata"]["ownerReferences"]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo")[0] == "Ready"
    assert [child["metadata"]["ownerReferences"][0]["kind"] for child in children] == ["SDInstance"] * 2


@pytest.mark.parametrize("key", [BUNDLE, INSTANCE])
async def test_nothing_is_made_anew_for_an_owner_whose_end_was_not_told(key: Key) -> None:
    world = a_world()
    await world.settle()
    resource = names.SDINSTANCE if key is INSTANCE else names.MODELBUNDLE
    cluster = world.cluster
    cluster.remembered[resource.plural, "ns", key.name] = cluster.one(resource, key.name)
    if key is BUNDLE:
        cluster.remove(names.CLAIM, "ns", "sd15-models")
    cluster.remove(resource, "ns", key.name)
    cluster.writes.clear()
    reconciler = world.instances if key is INSTANCE else world.bundles
    assert await reconciler.reconcile(key) is None
    assert cluster.writes == []


async def test_a_pod_whose_end_no_watch_told_of_costs_no_second_download() -> None:
    world = a_world()
    await world.bundles.reconcile(BUNDLE)
    world.controllers.step()
    job = world.cluster.all(names.JOB)[0]["metadata"]["uid"]
    for pod in world.cluster.all(names.POD):
        before = {**pod, "status": {"phase": "Pending"}}
        world.cluster.remembered["pods", "ns", pod["metadata"]["name"]] = before
    await world.bundles.reconcile(BUNDLE)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Ready", "FilesVerified")
    assert world.cluster.all(names.JOB)[0]["metadata"]["uid"] == job


async def test_a_pod_that_no_watch_told_of_costs_no_second_download() -> None:
    world = a_world()
    await world.bundles.reconcile(BUNDLE)
    world.controllers.step()
    job = world.cluster.all(names.JOB)[0]["metadata"]["uid"]
    world.cluster.forgotten.add("pods")
    await world.bundles.reconcile(BUNDLE)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Ready", "FilesVerified")
    assert world.cluster.all(names.JOB)[0]["metadata"]["uid"] == job


async def test_a_new_claim_is_filled_again() -> None:
    world = a_world()
    await world.settle()
    job = world.cluster.all(names.JOB)[0]["metadata"]["uid"]
    world.cluster.remove(names.CLAIM, "ns", "sd15-models")
    await world.settle()
    assert world.cluster.all(names.JOB)[0]["metadata"]["uid"] != job
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"


async def test_a_lost_verdict_is_asked_for_again_unless_it_was_written_down() -> None:
    world = a_world()
    await world.bundles.reconcile(BUNDLE)
    world.controllers.step()
    job = world.cluster.all(names.JOB)[0]["metadata"]["uid"]
    for pod in world.cluster.all(names.POD):
        world.cluster.remove(names.POD, "ns", pod["metadata"]["name"])
    await world.settle()
    again = world.cluster.all(names.JOB)[0]["metadata"]["uid"]
    assert again != job
    for pod in world.cluster.all(names.POD):
        if pod["metadata"]["labels"].get(names.LABEL_SD_BUNDLE):
            world.cluster.remove(names.POD, "ns", pod["metadata"]["name"])
    await world.settle()
    assert world.cluster.all(names.JOB)[0]["metadata"]["uid"] == again
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"


async def test_a_new_operator_image_leaves_what_is_done_alone() -> None:
    world = a_world()
    await world.settle()
    world.cluster.writes.clear()
    world.restart(operator_image="operator:2")
    await world.settle()
    assert world.cluster.writes == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RefusedError('Deployment "demo" is invalid: spec…: Unsupported value', status=422), "Stalled"),
        (ConflictError("the object is being deleted", status=409), "Reconciling"),
    ],
    ids=["refused content", "conflict"],
)
async def test_what_the_api_server_refuses_is_shown_in_its_words(
    error: RefusedError | ConflictError, expected: str
) -> None:
    world = a_world()
    world.cluster.refuse["Deployment"] = error
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo")[0] == expected
    assert str(error) in world.cluster.one(names.SDINSTANCE, "demo")["status"]["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"models": "sd15"}, "spec.models"),
        ({"models": [], "replicas": "many"}, "spec.replicas"),
        ({"checkpoint": None}, "spec.checkpoint"),
        ({"gpu": {"backend": "Half"}}, "'Half'"),
    ],
)
async def test_a_malformed_instance_is_stalled_and_named_and_settles(spec: object, complaint: str) -> None:
    world = a_world()
    world.cluster.one(names.SDINSTANCE, "demo")["spec"].update(spec)  # type: ignore[call-overload]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "InvalidSpec")
    assert complaint in world.cluster.one(names.SDINSTANCE, "demo")["status"]["conditions"][0]["message"]
    world.cluster.writes.clear()
    await world.settle()
    assert world.cluster.writes == []


async def test_an_object_that_is_gone_or_going_is_left_alone() -> None:
    world = a_world()
    assert await world.instances.reconcile(Key("SDInstance", "ns", "nobody")) is None
    world.cluster.one(names.SDINSTANCE, "demo")["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert await world.instances.reconcile(INSTANCE) is None
    assert world.cluster.writes == []
