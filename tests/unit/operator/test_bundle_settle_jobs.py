"""Several files of one bundle: turns, refusals, and Jobs that somebody touched."""

import pytest
from bundle_world import rounds, status
from operator_fakes import file
from operator_world import BUNDLE, World, a_world

from sd_operator import errors, names


@pytest.fixture
async def world() -> World:
    world = a_world()
    await world.settle()
    assert world.verdict(names.MODELBUNDLE, "sd15")[0] == "Ready"
    return world


async def test_a_job_that_is_refused_holds_up_no_other_file(world: World) -> None:
    files = [file(), file("other", fileName="other.safetensors")]
    world.cluster.refuse["Job"] = errors.RefusedError("exceeded quota: jobs", status=403)
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=files)
    await rounds(world)
    told = {each["name"]: (each["state"], each.get("reason")) for each in status(world)["files"]}
    assert told == {"base": ("Verified", None), "other": ("Pending", "ChildRejected")}
    assert world.verdict(names.MODELBUNDLE, "sd15") == ("Stalled", "ChildRejected")


async def test_a_fetch_that_cannot_start_keeps_no_turn_from_others() -> None:
    world = a_world()
    files = [file("a", fileName="a.safetensors"), file("b", fileName="b.safetensors")]
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=files, fetch={"parallelism": 1})
    await world.bundles.reconcile(BUNDLE)
    (first,) = world.cluster.all(names.JOB)
    first["status"] = {"active": 1}
    world.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "stuck",
                "labels": {names.LABEL_SD_BUNDLE: "sd15", names.LABEL_SD_FILE: "a"},
                "ownerReferences": [{"uid": first["metadata"]["uid"], "controller": True}],
            },
            "status": {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": 'persistentvolumeclaim "nope" not found',
                    }
                ],
            },
        }
    )
    await rounds(world)
    told = {each["name"]: each["state"] for each in status(world)["files"]}
    assert told == {"a": "Pending", "b": "Verified"}
    message = status(world)["conditions"][0]["message"]
    assert message.startswith("spec.files[].source.volume.claimName: ")


async def test_a_job_at_work_that_somebody_suspends_goes_on() -> None:
    world = a_world()
    await world.bundles.reconcile(BUNDLE)
    (job,) = world.cluster.all(names.JOB)
    job["status"] = {"active": 0}
    job["spec"].update(suspend=True, parallelism=0)
    await world.bundles.reconcile(BUNDLE)
    assert (job["spec"]["suspend"], job["spec"]["parallelism"]) == (False, 1)


async def test_no_more_files_are_fetched_at_a_time_than_the_spec_says() -> None:
    world = a_world()
    files = [file(f"f{number}", fileName=f"f{number}.safetensors") for number in range(5)]
    world.cluster.edit(names.MODELBUNDLE, "sd15", files=files, fetch={"parallelism": 2})
    seen = []
    for _ in range(12):
        await world.bundles.reconcile(BUNDLE)
        unfinished = [job for job in world.cluster.all(names.JOB) if not job.get("status")]
        seen.append(len(unfinished))
        told = [each.get("reason") for each in status(world)["files"] if each["state"] == "Pending"]
        assert told.count("Queued") == max(0, len(told) - 2)
        world.controllers.step()
    assert max(seen) == 2
    assert status(world)["progress"]["files"] == "5/5"


@pytest.mark.parametrize(
    ("policy", "safe"), [("SafetensorsOnly", "True"), ("ScanPickle", "True"), ("Unsafe", "False")]
)
async def test_a_condition_tells_whether_code_can_come_in(world: World, policy: str, safe: str) -> None:
    world.cluster.edit(names.MODELBUNDLE, "sd15", formatPolicy=policy)
    await rounds(world)
    (formats,) = [each for each in status(world)["conditions"] if each["type"] == "FormatsSafe"]
    assert formats["status"] == safe
    assert (formats["reason"] == "UnsafeFormats") is (safe == "False")
