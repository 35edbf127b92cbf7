"""The operator's process ends after any of its writes, and the next one finishes the work."""

import logging

import pytest
from operator_fakes import FakeCluster, Killed, file
from operator_world import ROUNDS, World, a_world

from sd_operator import names


def content(cluster: FakeCluster) -> dict[object, object]:
    """The world without what differs from run to run."""
    volatile = {"uid", "creationTimestamp", "lastTransitionTime", "since"}
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
