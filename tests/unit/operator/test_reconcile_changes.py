"""What becomes of a change of the spec, of the bundles, or of what the pods say."""

import json

from operator_fakes import OTHER_SHA, SHA, FakeCluster, file, holding, instance
from operator_world import INSTANCE, World, a_world

from sd_operator import names
from sd_operator.errors import RefusedError


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


async def test_other_labels_in_the_settings_reach_monitors_that_are_there_and_nothing_else() -> None:
    world = a_world()
    world.cluster.served = frozenset({names.SERVICEMONITOR})
    world.restart(service_monitor_labels={"release": "prometheus"})
    await world.settle()
    own = world.cluster.one(names.SERVICEMONITOR, "demo")["metadata"]["labels"].copy()
    assert own.pop("release") == "prometheus"
    world.cluster.writes.clear()
    world.restart(service_monitor_labels={"team": "art"})
    await world.settle()
    assert world.cluster.one(names.SERVICEMONITOR, "demo")["metadata"]["labels"] == {**own, "team": "art"}
    assert world.cluster.writes == [("apply", "ServiceMonitor", "demo")]


async def test_events_tell_of_transitions_only() -> None:
    world = a_world()
    await world.settle()
    told = [(event["involvedObject"]["kind"], event["reason"]) for event in world.cluster.events]
    assert told == [
        ("ModelBundle", "FileVerified"),
        ("ModelBundle", "FilesVerified"),
        ("SDInstance", "CheckpointLoaded"),
    ]
    world.cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "sd15", "file": "absent"})
    await world.settle()
    world.cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "sd15", "file": "base"})
    await world.settle()
    later = [(event["type"], event["reason"]) for event in world.cluster.events[3:]]
    assert later == [("Warning", "FileNotFound"), ("Normal", "CheckpointLoaded")]
