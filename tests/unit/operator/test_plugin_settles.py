"""Whole reconciles with plugins: they are added, missing, edited and removed, and cost nothing at rest."""

from typing import Any

from operator_fakes import FakeCluster, answering, bundle, file, instance, plugin
from operator_world import World, a_world_with_plugin

from sd_operator import names
from sd_operator.instance.reconcile import LONGEST_POLL
from sd_operator.names import Key

AUX = [{"name": "aux"}]
SILENT = answering(ready=False, reason="NotAnswering", message="no answer")


def template(world: World) -> Any:
    return world.cluster.one(names.DEPLOYMENT, "demo")["spec"]["template"]


def sidecars(world: World) -> dict[str, str]:
    return {each["name"]: each["image"] for each in template(world)["spec"].get("initContainers", ())}


def status(world: World) -> Any:
    return world.cluster.one(names.SDINSTANCE, "demo")["status"]


async def settled() -> World:
    world = a_world_with_plugin()
    world.runtimes.plugins = [answering("aux", {"name": "hed", "available": True, "reason": ""})]
    await world.settle()
    return world


async def test_an_instance_with_a_plugin_becomes_ready_and_so_does_the_plugin() -> None:
    world = await settled()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    assert world.verdict(names.SDPLUGIN, "aux") == ("Ready", "PluginAnswers")
    assert status(world)["plugins"] == [
        {
            "name": "aux",
            "version": "0.1.0",
            "ready": True,
            "observedGeneration": 1,
            "modules": [{"name": "hed", "available": True}],
        }
    ]
    told = world.cluster.one(names.SDPLUGIN, "aux")["status"]
    assert (told["instances"], told["usedBy"], told["version"]) == ("1/1", ["ns/demo"], "0.1.0")


async def test_a_settled_world_with_plugins_is_read_and_not_written() -> None:
    world = await settled()
    world.cluster.writes.clear()
    world.restart()
    for _ in range(3):
        await world.round()
    assert world.cluster.writes == []


async def test_a_created_instance_costs_no_more_writes_for_its_plugin() -> None:
    world = a_world_with_plugin()
    world.runtimes.plugins = [answering()]
    await world.settle()
    mine = [f"{verb} {kind}" for verb, kind, _ in world.cluster.writes if kind != "ModelBundle"]
    assert mine.count("apply Deployment") == 1
    assert mine.count("apply-status SDInstance") <= 3
    assert mine.count("apply-status SDPlugin") <= 2


async def test_a_plugin_is_added_to_an_instance_that_runs_and_taken_out_again() -> None:
    world = await settled()
    before = dict(template(world)["spec"])
    world.cluster.edit(names.SDINSTANCE, "demo", plugins=[])
    await world.settle()
    assert sidecars(world) == {}
    assert "plugins" not in status(world)
    assert (
        names.ANNOTATION_PLUGINS not in world.cluster.one(names.DEPLOYMENT, "demo")["metadata"]["annotations"]
    )
    assert world.verdict(names.SDPLUGIN, "aux") == ("Ready", "NotUsed")
    world.cluster.edit(names.SDINSTANCE, "demo", plugins=AUX)
    await world.settle()
    assert template(world)["spec"] == before


async def test_an_instance_waits_for_a_plugin_that_comes_later() -> None:
    cluster = FakeCluster()
    cluster.add(bundle())
    cluster.add(instance(plugins=AUX))
    world = World(cluster)
    world.runtimes.plugins = [answering()]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "PluginNotFound")
    assert cluster.all(names.DEPLOYMENT) == []
    cluster.add(plugin())
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")


async def test_when_a_plugin_goes_the_pods_keep_it_and_still_scale() -> None:
    world = await settled()
    before = template(world)
    world.cluster.remove(names.SDPLUGIN, "ns", "aux")
    world.cluster.edit(names.SDINSTANCE, "demo", replicas=2)
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "PluginNotFound")
    assert template(world) == before
    assert status(world)["models"]["loaded"] == 2
    assert status(world)["plugins"][0]["reason"] == "PluginNotFound"
    world.cluster.add(plugin(image="plugin-aux:2"))
    await world.settle()
    assert sidecars(world) == {"plugin-aux": "plugin-aux:2"}
    assert world.verdict(names.SDINSTANCE, "demo")[0] == "Ready"


async def test_an_edited_plugin_is_not_ready_until_the_pods_have_it() -> None:
    world = await settled()
    world.cluster.edit(names.SDPLUGIN, "aux", image="plugin-aux:2")
    await world.plugins.reconcile(Key("SDPlugin", "ns", "aux"))
    assert world.verdict(names.SDPLUGIN, "aux") == ("Reconciling", "RollingOut")
    await world.settle()
    assert sidecars(world) == {"plugin-aux": "plugin-aux:2"}
    assert world.verdict(names.SDPLUGIN, "aux") == ("Ready", "PluginAnswers")


async def test_a_silent_plugin_is_told_of_and_asked_about_until_it_answers() -> None:
    world = await settled()
    deployment = world.cluster.one(names.DEPLOYMENT, "demo")["spec"]
    world.runtimes.plugins = [SILENT]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "PluginNotReady")
    assert world.verdict(names.SDPLUGIN, "aux") == ("Reconciling", "PluginNotReady")
    assert status(world)["models"]["loaded"] == 1, "it serves all the same"
    assert world.cluster.one(names.DEPLOYMENT, "demo")["spec"] == deployment
    again = await world.instances.reconcile(Key("SDInstance", "ns", "demo"))
    assert again is not None and again <= LONGEST_POLL
    world.runtimes.plugins = [answering()]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo")[0] == world.verdict(names.SDPLUGIN, "aux")[0] == "Ready"


async def test_the_bundle_of_a_plugin_is_mounted_and_has_the_instance_as_its_user() -> None:
    cluster = FakeCluster()
    cluster.add(bundle())
    cluster.add(plugin(models=[{"name": "weights"}]))
    cluster.add(instance(plugins=AUX))
    world = World(cluster)
    world.runtimes.plugins = [answering()]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "BundleNotFound")
    cluster.add(bundle("weights", files=[file("hed", type="Annotator")]))
    for _ in range(4):
        await world.bundles.reconcile(Key("ModelBundle", "ns", "weights"))
        await world.round()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    assert cluster.one(names.MODELBUNDLE, "weights")["status"]["usedBy"] == ["demo"]
    claims = [(each.get("persistentVolumeClaim") or {}) for each in template(world)["spec"]["volumes"]]
    assert {"claimName": "weights-models"} in claims


async def test_a_plugin_of_the_catalog_serves_every_namespace() -> None:
    cluster = FakeCluster()
    for_all = plugin()
    for_all["metadata"]["namespace"] = "catalog"
    cluster.add(for_all)
    cluster.add(bundle())
    cluster.add(instance(plugins=[{"name": "aux", "scope": "Catalog"}]))
    world = World(cluster)
    world.runtimes.plugins = [answering()]
    await world.settle()
    assert world.verdict(names.SDINSTANCE, "demo") == ("Ready", "CheckpointLoaded")
    await world.plugins.reconcile(Key("SDPlugin", "catalog", "aux"))
    told = cluster.objects["sdplugins", "catalog", "aux"]["status"]
    assert (told["usedBy"], told["instances"]) == (["ns/demo"], "1/1")


async def test_a_plugin_that_cannot_be_read_says_so() -> None:
    world = await settled()
    world.cluster.edit(names.SDPLUGIN, "aux", kind="Painter")
    await world.settle()
    assert world.verdict(names.SDPLUGIN, "aux") == ("Stalled", "InvalidSpec")
    assert world.verdict(names.SDINSTANCE, "demo") == ("Reconciling", "PluginNotFound")
    assert sidecars(world) == {"plugin-aux": "plugin-aux:1"}
