"""Whole reconciles against the fake API server: they settle, stay settled, repair, and clean up."""

import copy
import json
import logging

import pytest
from operator_fakes import (
    OTHER_SHA,
    SHA,
    Controllers,
    FakeCluster,
    FakeRuntimes,
    Killed,
    bundle,
    file,
    holding,
    instance,
)

from sd_operator import names
from sd_operator.bundle.children.job import FetchSettings
from sd_operator.bundle.reconcile import BundleReconciler
from sd_operator.errors import ConflictError, RefusedError
from sd_operator.instance.children.deployment import RuntimeSettings
from sd_operator.instance.reconcile import InstanceReconciler
from sd_operator.names import Key

BUNDLE = Key("ModelBundle", "ns", "sd15")
INSTANCE = Key("SDInstance", "ns", "demo")
ROUNDS = 8


class World:
    """One cluster, its controllers, and an operator that can be started anew."""

    def __init__(self, cluster: FakeCluster, runtimes: FakeRuntimes | None = None) -> None:
        self.cluster = cluster
        self.controllers = Controllers(cluster)
        self.runtimes = runtimes or FakeRuntimes()
        self.restart()

    def restart(self, *, operator_image: str = "operator:1", runtime_image: str = "runtime:1") -> None:
        self.bundles = BundleReconciler(
            self.cluster,
            FetchSettings(
                image=operator_image, image_pull_policy="IfNotPresent", hf_endpoint="https://huggingface.co"
            ),
            recheck_seconds=60,
        )
        self.instances = InstanceReconciler(
            self.cluster,
            self.runtimes,
            RuntimeSettings(image=runtime_image, image_pull_policy="IfNotPresent"),
            recheck_seconds=60,
        )

    async def round(self) -> None:
        await self.bundles.reconcile(BUNDLE)
        await self.instances.reconcile(INSTANCE)
        self.controllers.step()

    async def settle(self) -> None:
        for _ in range(ROUNDS):
            await self.round()

    def verdict(self, resource: names.Resource, name: str) -> tuple[str, str]:
        conditions = self.cluster.one(resource, name)["status"]["conditions"]
        held = [condition["type"] for condition in conditions if condition["status"] == "True"]
        ready = next(condition for condition in conditions if condition["type"] == "Ready")
        assert len(held) == 1
        return held[0], ready["reason"]


def a_world() -> World:
    cluster = FakeCluster()
    cluster.add(bundle())
    cluster.add(instance())
    return World(cluster)


async def test_a_bundle_and_an_instance_become_ready() -> None:
    world = a_world()
    await world.settle()
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Ready", "FilesVerified")
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    status = world.cluster.one(names.MODELBUNDLE, "sd15")["status"]
    assert status["usedBy"] == ["demo"]
    assert status["volume"] == {"claimName": "sd15-models", "capacity": "20Gi"}
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


async def test_a_created_instance_costs_one_write_a_child_and_two_of_its_status() -> None:
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
        "apply-status SDInstance",
    ]


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
    job = cluster.all(names.JOB)[0]["metadata"]["name"]
    cluster.remove(names.JOB, "ns", job)
    await world.settle()
    assert cluster.one(names.DEPLOYMENT, "demo")["spec"]["replicas"] == 1
    assert cluster.one(names.SERVICE, "demo")
    assert cluster.one(names.JOB, job)
    assert world.verdict(names.SDINSTANCE, "demo")[0] == "Ready"


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


async def test_scaling_reaches_the_deployment_and_zero_is_ready() -> None:
    world = a_world()
    await world.settle()
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=3)
    await world.settle()
    assert world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["replicas"] == 3
    assert world.cluster.one(names.SDINSTANCE, "demo")["status"]["models"]["loaded"] == 3
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=0)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "ScaledToZero")
    assert world.cluster.one(names.SDINSTANCE, "demo")["status"]["replicas"] == 0


async def test_there_and_back_again_is_the_same_deployment() -> None:
    world = a_world()
    await world.settle()
    before = world.cluster.one(names.DEPLOYMENT, "demo")["spec"].copy()
    selector = {"gpu": "big"}
    world.cluster.edit(names.SDINSTANCE, "demo", nodeSelector=selector)
    await world.settle()
    pod = world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == selector
    del world.cluster.one(names.SDINSTANCE, "demo")["spec"]["nodeSelector"]
    world.cluster.edit(names.SDINSTANCE, "demo")
    await world.settle()
    assert world.cluster.one(names.DEPLOYMENT, "demo")["spec"] == before


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


async def test_while_a_file_changes_the_pods_keep_serving_and_still_scale() -> None:
    world = a_world()
    await world.settle()
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file(sha256=SHA)])
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=2)
    await world.instances.reconcile(INSTANCE)
    assert world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["replicas"] == 2
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "BundleNotReady")
    message = world.cluster.one(names.SDINSTANCE, "demo")["status"]["conditions"][0]["message"]
    assert "keep serving" in message


async def test_when_the_bundle_goes_the_pods_serve_on_and_still_scale() -> None:
    world = a_world()
    await world.settle()
    world.cluster.remove(names.MODELBUNDLE, "ns", "sd15")
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=2)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "BundleNotFound")
    assert world.cluster.one(names.SDINSTANCE, "demo")["status"]["models"]["loaded"] == 2
    template = world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["template"]
    access = {"auth": "Disabled", "service": {"type": "NodePort"}}
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=0)
    await world.settle()
    deployment = world.cluster.one(names.DEPLOYMENT, "demo")
    assert (deployment["spec"]["replicas"], deployment["spec"]["template"]) == (0, template)
    world.cluster.edit(names.SDINSTANCE, "demo", access=access)
    await world.settle()
    assert world.cluster.one(names.SERVICE, "demo")["spec"]["type"] == "NodePort"
    world.cluster.writes.clear()
    await world.settle()
    assert world.cluster.writes == []


async def test_what_serves_is_told_even_when_the_spec_is_refused() -> None:
    world = a_world()
    await world.settle()
    world.cluster.edit(names.SDINSTANCE, "demo", resources={"limits": {"nvidia.com/gpu": 1}})
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "InvalidSpec")
    assert world.cluster.one(names.SDINSTANCE, "demo")["status"]["models"]["loaded"] == 1


async def test_children_that_lost_their_owner_are_taken_back() -> None:
    world = a_world()
    await world.settle()
    children = [world.cluster.one(kind, "demo") for kind in (names.DEPLOYMENT, names.SERVICE)]
    for child in children:
        del child["metadata"]["ownerReferences"]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo")[0] == "Ready"
    assert [child["metadata"]["ownerReferences"][0]["kind"] for child in children] == ["SDInstance"] * 2


async def test_pods_that_can_let_nobody_in_do_not_count_and_are_asked_again_soon() -> None:
    world = a_world()
    world.runtimes.answer = holding(SHA, credentials="Missing")
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "CredentialsMissing")
    assert world.cluster.one(names.SDINSTANCE, "demo")["status"]["models"]["loaded"] == 0
    again = await world.instances.reconcile(INSTANCE)
    assert again is not None and again <= 5
    world.runtimes.answer = None
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo")[0] == "Ready"


async def test_other_bytes_under_the_same_name_are_told_to_the_pods_that_run() -> None:
    world = a_world()
    await world.settle()
    before = {pod["metadata"]["uid"] for pod in world.cluster.all(names.POD)}
    status = world.cluster.one(names.MODELBUNDLE, "sd15")["status"]
    status["files"][0]["sha256"] = OTHER_SHA
    await world.instances.reconcile(INSTANCE)
    world.controllers.step()
    assert {pod["metadata"]["uid"] for pod in world.cluster.all(names.POD)} == before
    assert [wish["checkpoint"]["sha256"] for wish in world.runtimes.told.values()] == [OTHER_SHA]
    config = json.loads(world.cluster.all(names.CONFIGMAP)[0]["data"]["desired.json"])
    assert config["checkpoint"]["sha256"] == OTHER_SHA


async def test_options_are_told_to_the_pods_that_run_and_one_that_is_refused_is_named() -> None:
    world = a_world()
    await world.settle()
    template = world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["template"]
    world.cluster.edit(names.SDINSTANCE, "demo", options={"eta": 3})
    await world.settle()
    assert world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["template"] == template
    assert [wish["options"] for wish in world.runtimes.told.values()] == [{"eta": 3}]
    assert world.verdict(names.SDINSTANCE, "demo")[0] == "Ready"
    world.runtimes.answer = holding(SHA, optionErrors=[{"name": "eta", "message": "not served"}])
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "OptionRefused")


async def test_a_suspended_instance_is_left_as_it_is_and_says_what_waits() -> None:
    world = a_world()
    await world.settle()
    world.cluster.edit(names.SDINSTANCE, "demo", suspend=True)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "Suspended")
    world.cluster.writes.clear()
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=3)
    world.cluster.remove(names.SERVICE, "ns", "demo")
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "Suspended")
    message = world.cluster.one(names.SDINSTANCE, "demo")["status"]["conditions"][0]["message"]
    assert "Deployment demo" in message and "Service demo" in message
    assert {kind for _, kind, _ in world.cluster.writes} <= {"SDInstance", "ModelBundle"}
    world.cluster.edit(names.SDINSTANCE, "demo", suspend=False)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    assert world.cluster.one(names.SERVICE, "demo")


async def test_children_come_and_go_with_what_the_spec_asks_for() -> None:
    world = a_world()
    await world.settle()
    plain = {key for key in world.cluster.objects if key[0] != "pods"}
    ingress = {"host": "art.example.org"}
    access = {"auth": "Required", "authSecretRef": {"name": "login"}, "service": {"type": "ClusterIP"}}
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=2, access={**access, "ingress": ingress})
    await world.settle()
    more = {key for key in world.cluster.objects if key[0] != "pods"} - plain
    assert {key[0] for key in more} == {"ingresses", "services", "poddisruptionbudgets"}
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=1, access={**access, "networkPolicy": "Disabled"})
    await world.settle()
    left = {key for key in world.cluster.objects if key[0] != "pods"}
    assert plain - left == {("networkpolicies", "ns", "demo")}
    assert left <= plain


async def test_a_volume_that_may_not_grow_keeps_nothing_else_from_being_applied() -> None:
    world = a_world()
    world.cluster.edit(names.SDINSTANCE, "demo", outputs={"size": "1Gi"})
    await world.settle()
    refusal = RefusedError("only dynamically provisioned pvc can be resized", status=403)
    world.cluster.refuse_growth = refusal
    world.cluster.edit(names.SDINSTANCE, "demo", outputs={"size": "2Gi"}, podLabels={"team": "art"})
    await world.settle()
    labels = world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "art"
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    message = world.cluster.one(names.SDINSTANCE, "demo")["status"]["conditions"][0]["message"]
    assert f"spec.outputs.size: the volume stays at 1Gi: {refusal}" in message
    world.cluster.writes.clear()
    await world.settle()
    assert world.cluster.writes == []


async def test_a_spec_that_is_refused_still_scales_what_serves() -> None:
    world = a_world()
    await world.settle()
    world.cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "x", "file": "base"}, replicas=0)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "InvalidSpec")
    assert world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["replicas"] == 0
    world.cluster.writes.clear()
    await world.settle()
    assert world.cluster.writes == []


async def test_nothing_wanted_waits_for_no_bundle() -> None:
    cluster = FakeCluster()
    cluster.add(instance(replicas=0))
    world = World(cluster)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "ScaledToZero")


async def test_pods_of_before_keep_their_desired_state_until_they_are_gone() -> None:
    world = a_world()
    await world.settle()
    before = {item["metadata"]["name"]: item["data"] for item in world.cluster.all(names.CONFIGMAP)}
    changes = {"nodeSelector": {"gpu": "big"}, "options": {"eta": 1}}
    world.cluster.edit(names.SDINSTANCE, "demo", **changes)
    await world.instances.reconcile(INSTANCE)
    during = {item["metadata"]["name"]: item["data"] for item in world.cluster.all(names.CONFIGMAP)}
    assert len(during) == 2 and before.items() <= during.items()
    await world.settle()
    assert len(world.cluster.all(names.CONFIGMAP)) == 1
    assert not before.keys() & {item["metadata"]["name"] for item in world.cluster.all(names.CONFIGMAP)}


async def test_an_edit_of_a_bundle_that_leaves_the_checkpoint_alone_disturbs_no_instance() -> None:
    world = a_world()
    await world.settle()
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file(), file("late")])
    world.cluster.writes.clear()
    await world.instances.reconcile(INSTANCE)
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    assert world.cluster.writes == []


async def test_a_suspended_instance_tells_what_waits_to_go_and_what_is_wrong() -> None:
    world = a_world()
    await world.settle()
    access = {"auth": "Required", "authSecretRef": {"name": "login"}, "networkPolicy": "Disabled"}
    world.cluster.edit(names.SDINSTANCE, "demo", suspend=True, access=access)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "Suspended")
    message = world.cluster.one(names.SDINSTANCE, "demo")["status"]["conditions"][0]["message"]
    assert "NetworkPolicy demo" in message
    world.cluster.edit(names.SDINSTANCE, "demo", access={**access, "networkPolicy": "Restricted"})
    world.runtimes.answer = holding(SHA, optionErrors=[{"name": "eta", "message": "not served"}])
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Stalled", "OptionRefused")


@pytest.mark.parametrize("key", [BUNDLE, INSTANCE])
async def test_nothing_is_made_anew_for_an_owner_whose_end_was_not_told(key: Key) -> None:
    world = a_world()
    await world.settle()
    resource = names.SDINSTANCE if key is INSTANCE else names.MODELBUNDLE
    cluster = world.cluster
    cluster.remembered[resource.plural, "ns", key.name] = cluster.one(resource, key.name)
    cluster.remove(resource, "ns", key.name)
    cluster.writes.clear()
    reconciler = world.instances if key is INSTANCE else world.bundles
    assert await reconciler.reconcile(key) is None
    assert cluster.writes == []


async def test_a_pod_that_no_watch_told_of_costs_no_second_download() -> None:
    world = a_world()
    await world.bundles.reconcile(BUNDLE)
    world.controllers.step()
    job = world.cluster.all(names.JOB)[0]["metadata"]["uid"]
    world.cluster.forgotten.add("pods")
    await world.bundles.reconcile(BUNDLE)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Ready", "FilesVerified")
    assert world.cluster.all(names.JOB)[0]["metadata"]["uid"] == job


async def test_events_tell_of_transitions_only() -> None:
    world = a_world()
    await world.settle()
    told = [(event["involvedObject"]["kind"], event["reason"]) for event in world.cluster.events]
    assert told == [("ModelBundle", "FilesVerified"), ("SDInstance", "CheckpointLoaded")]
    world.cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "sd15", "file": "absent"})
    await world.settle()
    world.cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "sd15", "file": "base"})
    await world.settle()
    later = [(event["type"], event["reason"]) for event in world.cluster.events[2:]]
    assert later == [("Warning", "FileNotFound"), ("Normal", "CheckpointLoaded")]


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


def content(cluster: FakeCluster) -> dict[object, object]:
    """The world without what differs from run to run."""
    volatile = {"uid", "creationTimestamp", "lastTransitionTime"}
    hashes = {names.ANNOTATION_APPLIED, names.ANNOTATION_CLAIM_UID}

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key not in volatile | hashes}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value

    return {key: plain(item) for key, item in cluster.objects.items()}


async def undisturbed(script: str) -> FakeCluster:
    world = a_world()
    await world.settle()
    change(world, script)
    await world.settle()
    return world.cluster


def change(world: World, script: str) -> None:
    if script == "update":
        world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file(fileName="other.safetensors"), file("two")])
        world.cluster.edit(names.SDINSTANCE, "demo", replicas=2)
    elif script == "delete":
        world.cluster.remove(names.SDINSTANCE, "ns", "demo")
        world.cluster.remove(names.MODELBUNDLE, "ns", "sd15")


@pytest.mark.parametrize("script", ["create", "update", "delete"])
async def test_an_operator_killed_after_any_write_ends_where_an_undisturbed_one_does(
    script: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    expected = await undisturbed(script)
    assert len(expected.writes) >= 7
    for kill_after in range(1, len(expected.writes) + 1):
        world = a_world()
        world.cluster.kill_after = kill_after
        deaths = 0
        for phase in ("create", script if script != "create" else "nothing"):
            if phase != "create":
                change(world, phase)
            for _ in range(ROUNDS + 2):
                try:
                    await world.round()
                except Killed:
                    deaths += 1
                    world.restart()
        assert deaths == 1
        assert content(world.cluster) == content(expected), f"killed after write {kill_after}"
        assert len(world.cluster.writes) <= len(expected.writes) + 2
