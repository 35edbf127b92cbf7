"""Files on a volume over time: verified anew, and removed when they left the spec."""

import json

import pytest
from bundle_world import BASE, GONE, age, rounds, status
from operator_fakes import SHA, Killed, file, timestamp
from operator_world import BUNDLE, World, a_world

from sd_operator import errors, names
from sd_operator.api.bundle import seconds
from sd_operator.bundle.verdict import Kept, read_kept
from sd_operator.fetch import request as fetcher
from sd_operator.fetch import verdict


@pytest.fixture
async def world() -> World:
    world = a_world()
    await world.settle()
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    return world


async def test_files_are_verified_anew_when_the_interval_is_over(world: World) -> None:
    await rounds(world)
    assert world.controllers.upkeep == []
    age(world, ago=seconds("168h") + 5)
    await rounds(world)
    (asked,) = world.controllers.upkeep
    assert asked == {
        "bundle": "sd15",
        "verify": True,
        "expect": [{"name": "base", "path": BASE, "sha256": SHA}],
        "remove": [],
    }
    assert status(world)["verification"]["damaged"] == 0
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    # Its work is written down: it goes, and nothing more is done.
    assert [job for job in world.cluster.all(names.JOB) if "upkeep" in job["metadata"]["name"]] == []
    world.cluster.writes.clear()
    await rounds(world)
    assert world.cluster.writes == []


def test_operator_and_upkeep_pod_understand_each_other() -> None:
    asked = {
        "bundle": "sd15",
        "verify": True,
        "expect": [{"name": "base", "path": BASE, "sha256": SHA}],
        "remove": [{"name": "old", "path": "models/Lora/old.safetensors", "sha256": SHA}],
    }
    understood = fetcher.parse_upkeep(json.dumps(asked))
    assert understood.expect[0].path == BASE
    assert [(each.name, each.path, each.sha256) for each in understood.remove] == [
        ("old", "models/Lora/old.safetensors", SHA)
    ]
    kept = verdict.Kept(
        intact=1,
        lost=("a",),
        altered=("b",),
        removed=("models/Lora/old.safetensors",),
        strays=(verdict.Stray(name="c", path="models/Lora/c.safetensors", sha256=SHA),),
    )
    told = read_kept({"message": verdict.encode(kept).decode(), "exitCode": 0})
    assert isinstance(told, Kept)
    assert [(each.name, each.reason) for each in told.bad] == [("a", "Lost"), ("b", "Altered")]
    assert told.removed == ("models/Lora/old.safetensors",)
    assert [(each.name, each.path, each.sha256) for each in told.strays] == [
        ("c", "models/Lora/c.safetensors", SHA)
    ]


async def test_the_annotation_asks_for_a_verification_once_for_each_value(world: World) -> None:
    metadata = world.cluster.one(names.MODELBUNDLE, "sd15")["metadata"]
    for value in ("now", "again"):
        metadata["annotations"] = {names.ANNOTATION_VERIFY: value}
        await rounds(world)
        assert status(world)["verification"]["requested"] == value
    await rounds(world)
    assert len(world.controllers.upkeep) == 2


async def test_an_interval_of_nothing_verifies_only_when_asked(world: World) -> None:
    world.cluster.edit(names.MODELBUNDLE, "sd15", verify={"interval": "0s"})
    age(world, ago=seconds("900h"))
    await rounds(world)
    assert world.controllers.upkeep == []


@pytest.mark.parametrize("reason", ["Lost", "Altered"])
async def test_a_damaged_file_is_told_and_fetched_again(world: World, reason: str) -> None:
    world.controllers.damaged = {"base": reason}
    age(world, ago=seconds("168h") + 5)
    await world.bundles.reconcile(BUNDLE)
    world.controllers.step()
    world.controllers.damaged = {}
    await world.bundles.reconcile(BUNDLE)
    (told,) = status(world)["files"]
    assert (told["state"], told["reason"]) == ("Pending", reason)
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Reconciling", reason)
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    assert status(world)["verification"]["damaged"] == 1
    events = [event["reason"] for event in world.cluster.events if event["involvedObject"]["name"] == "sd15"]
    assert events[-4:] == [f"File{reason}", "NotReady", "FileVerified", "FilesVerified"]
    assert len(world.controllers.upkeep) == 1


async def test_a_file_that_left_the_spec_is_removed_after_its_grace(world: World) -> None:
    world.cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "sd15", "file": "other"})
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file("other", fileName="other.safetensors")])
    world.cluster.one(names.SDINSTANCE, "demo")["status"].pop("models")
    await rounds(world)
    (leaving,) = status(world)["leaving"]
    assert (leaving["path"], leaving["name"], leaving["sha256"]) == (BASE, "base", SHA)
    assert "usedBy" not in leaving
    assert world.controllers.upkeep == []
    age(world, ago=3605)
    await rounds(world)
    (asked,) = world.controllers.upkeep
    assert (asked["verify"], asked["remove"]) == (False, [GONE])
    assert "leaving" not in status(world)
    assert "FileRemoved" in {event["reason"] for event in world.cluster.events}


@pytest.mark.parametrize("use", ["told to", "holds it"])
async def test_a_file_that_an_instance_serves_is_not_removed(world: World, use: str) -> None:
    other = {"bundle": "sd15", "file": "other"}
    if use == "holds it":
        world.cluster.edit(names.SDINSTANCE, "demo", checkpoint=other)
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file("other", fileName="other.safetensors")])
    await rounds(world)
    age(world, ago=seconds("9h"))
    await rounds(world)
    assert status(world)["leaving"][0]["usedBy"] == "demo"
    assert world.controllers.upkeep == []
    instance = world.cluster.one(names.SDINSTANCE, "demo")
    instance["spec"]["checkpoint"] = other
    instance["status"].pop("models")
    await rounds(world)
    assert [asked["remove"] for asked in world.controllers.upkeep] == [[GONE]]


async def test_a_file_that_comes_back_is_not_removed(world: World) -> None:
    files = world.cluster.one(names.MODELBUNDLE, "sd15")["spec"]["files"]
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file("other", fileName="other.safetensors")])
    await rounds(world)
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[*files, file("other", fileName="other.safetensors")])
    await rounds(world)
    assert "leaving" not in status(world)
    age(world, ago=seconds("9h"))
    await rounds(world)
    assert world.controllers.upkeep == []


async def test_a_file_whose_name_on_the_volume_changes_leaves_its_old_place(world: World) -> None:
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file(fileName="renamed.safetensors")])
    await rounds(world)
    assert [each["path"] for each in status(world)["leaving"]] == [BASE]


async def test_what_the_status_forgot_is_found_on_the_volume(world: World) -> None:
    stray = {"name": "old", "path": "models/Lora/old.safetensors"}
    world.controllers.strays = [stray]
    age(world, ago=seconds("168h") + 5)
    await rounds(world)
    assert [each["path"] for each in status(world)["leaving"]] == [stray["path"]]


async def test_a_volume_that_cannot_be_looked_after_is_told_beside_ready(world: World) -> None:
    age(world, ago=seconds("168h") + 5)
    await world.bundles.reconcile(BUNDLE)
    (job,) = [job for job in world.cluster.all(names.JOB) if "upkeep" in job["metadata"]["name"]]
    job["status"] = {
        "conditions": [
            {
                "type": "Failed",
                "status": "True",
                "message": "BackoffLimitExceeded",
                "lastTransitionTime": timestamp(),
            }
        ]
    }
    await rounds(world)
    ready = status(world)["conditions"][0]
    assert ready["status"] == "True"
    assert "could not be looked after: BackoffLimitExceeded" in ready["message"]
    job["status"]["conditions"][0]["lastTransitionTime"] = timestamp(ago=601)
    await rounds(world)
    assert len(world.controllers.upkeep) == 1
    assert "looked after" not in status(world)["conditions"][0]["message"]


async def test_an_upkeep_that_would_remove_what_is_in_the_spec_again_is_withdrawn(world: World) -> None:
    cluster = world.cluster
    both = [file(), file("other", fileName="other.safetensors")]
    cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "sd15", "file": "other"})
    cluster.one(names.SDINSTANCE, "demo")["status"].pop("models")
    cluster.edit(names.MODELBUNDLE, "sd15", files=both[1:], removeAfter="0s")
    await world.bundles.reconcile(BUNDLE)
    (job,) = [job for job in cluster.all(names.JOB) if "upkeep" in job["metadata"]["name"]]
    pod = cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "tidying",
                "labels": {names.LABEL_SD_BUNDLE: "sd15"},
                "ownerReferences": [{"uid": job["metadata"]["uid"], "controller": True}],
            },
            "status": {"phase": "Running"},
        }
    )
    cluster.edit(names.MODELBUNDLE, "sd15", files=both)
    await world.bundles.reconcile(BUNDLE)
    told = {each["name"]: each.get("reason") for each in status(world)["files"]}
    assert told["base"] == "WaitingForDeletion"
    assert ("delete", "Job", job["metadata"]["name"]) in cluster.writes
    assert pod["metadata"]["name"] == "tidying"
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    assert world.controllers.upkeep == []


async def test_a_file_whose_place_only_its_source_knows_does_not_leave_while_it_cannot_be_had() -> None:
    world = a_world()
    civitai = file(source={"civitai": {"modelVersionId": 1}})
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[civitai], removeAfter="0s")
    await rounds(world)
    assert status(world)["files"][0]["path"]
    world.cluster.refuse["Job"] = errors.RefusedError("quota exceeded", status=403)
    other = file(source={"civitai": {"modelVersionId": 2}})
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[other], removeAfter="0s")
    await rounds(world)
    assert status(world)["files"][0]["reason"] == "ChildRejected"
    assert "leaving" not in status(world)
    del world.cluster.refuse["Job"]
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"


async def test_a_file_that_leaves_in_an_edit_that_is_refused_is_not_forgotten(world: World) -> None:
    clash = [file("one"), file("two")]
    for each in clash:
        each["fileName"] = "same.safetensors"
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=clash)
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15")[1] == "PathConflict"
    assert [each["path"] for each in status(world)["leaving"]] == [BASE]


async def test_a_served_checkpoint_that_was_renamed_leaves_its_old_place(world: World) -> None:
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=[file(fileName="new.safetensors")], removeAfter="0s")
    world.cluster.one(names.SDINSTANCE, "demo")["status"]["models"]["checkpoint"]["sha256"] = "c" * 64
    await rounds(world)
    assert [asked["remove"] for asked in world.controllers.upkeep] == [[GONE]]


async def test_an_upkeep_that_cannot_start_is_told(world: World) -> None:
    age(world, ago=seconds("168h") + 5)
    await world.bundles.reconcile(BUNDLE)
    (job,) = [job for job in world.cluster.all(names.JOB) if "upkeep" in job["metadata"]["name"]]
    job["status"] = {"active": 0}
    job["metadata"]["creationTimestamp"] = timestamp(ago=20)
    world.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e"},
            "involvedObject": {"uid": job["metadata"]["uid"]},
            "type": "Warning",
            "reason": "FailedCreate",
            "message": "exceeded quota: pods",
        }
    )
    await rounds(world, 2)
    ready = status(world)["conditions"][0]
    assert ready["status"] == "True"
    assert "FailedCreate" in ready["message"]


@pytest.mark.parametrize("kill_after", range(1, 14))
async def test_an_operator_killed_at_any_write_still_tidies_up(kill_after: int) -> None:
    world = a_world()
    await world.settle()
    cluster = world.cluster
    world.controllers.damaged = {"other": "Altered"}
    kept = file("other", fileName="other.safetensors")
    cluster.edit(names.SDINSTANCE, "demo", checkpoint={"bundle": "sd15", "file": "other"})
    cluster.edit(names.MODELBUNDLE, "sd15", files=[kept], removeAfter="0s")
    cluster.one(names.SDINSTANCE, "demo")["status"].pop("models")
    cluster.one(names.MODELBUNDLE, "sd15")["metadata"]["annotations"] = {names.ANNOTATION_VERIFY: "now"}
    cluster.writes.clear()
    cluster.kill_after = kill_after
    for _ in range(16):
        try:
            await world.bundles.reconcile(BUNDLE)
        except Killed:
            world.restart()
        world.controllers.step()
        if world.controllers.upkeep:
            world.controllers.damaged = {} if status(world).get("verification") else world.controllers.damaged
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    assert "leaving" not in status(world)
    assert status(world)["verification"]["requested"] == "now"
    assert [job for job in cluster.all(names.JOB) if "upkeep" in job["metadata"]["name"]] == []


async def test_a_refused_upkeep_job_is_told_beside_ready(world: World) -> None:
    age(world, ago=seconds("168h") + 5)
    world.cluster.refuse["Job"] = errors.RefusedError("quota exceeded", status=403)
    await rounds(world)
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    assert "quota exceeded" in status(world)["conditions"][0]["message"]
