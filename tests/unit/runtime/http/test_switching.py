"""The served checkpoint changes while requests run and wait: none of them fails for it, whatever becomes of
the load. Loads and pictures are ended by the test.
"""

import asyncio
import json

import pytest

from sd_runtime.desired import OutdatedError
from sd_runtime.errors import CheckpointError, CheckpointUnavailable
from sd_runtime.jobs.queue import Draining
from sd_runtime.routes.services import Superseded
from sd_runtime.serving import drain

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}
OLD, NEW, NEWER, OTHER_BYTES = "ab12" * 16, "cd34" * 16, "ef56" * 16, "0" * 64


@pytest.fixture
def world(switching_world):
    """Serves shapes.safetensors."""
    return switching_world


def switches(world, result):
    registry = world.services.metrics.registry
    return registry.get_sample_value("sd_checkpoint_switches_total", {"result": result})


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def model_of(response):
    assert response.status_code == 200, response.text
    return json.loads(response.json()["info"])["sd_model_name"]


async def test_what_runs_ends_with_the_old_checkpoint_and_what_comes_meanwhile_gets_the_new(world, until):
    engine = world.engine
    async with world.client() as client:
        running = asyncio.create_task(client.post(TXT2IMG, json=SMALL | {"n_iter": 2}))
        await until(lambda: len(engine.tickets) == 1)
        assert world.switcher.accept(world.wish("other", NEW))
        waiting = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.services.queue.waiting() == 2)
        engine.tickets[0].finish()
        await until(lambda: len(engine.tickets) == 2)
        assert engine.loads == []
        assert await world.readiness() == (200, "ready")
        engine.tickets[1].finish()
        assert model_of(await running) == "shapes"
        await until(lambda: engine.loads)
        assert await world.readiness() == (200, "ready")
        assert (len(engine.tickets), world.served) == (2, ("shapes", OLD))
        engine.loads[0].succeed()
        await until(lambda: len(engine.tickets) == 3)
        engine.tickets[2].finish()
        assert model_of(await waiting) == "other"
    assert [(load.path.stem, load.sha256) for load in engine.loads] == [("other", NEW)]
    assert (world.served, switches(world, "done")) == (("other", NEW), 1)
    told = await world.state()
    assert (told["health"], told["desired"]["inEffect"]) == ("Ready", True)
    assert (
        told["checkpoint"].items()
        >= {"path": "models/Stable-diffusion/other.safetensors", "sha256": NEW}.items()
    )


async def test_requests_that_wait_for_a_switch_are_no_more_than_the_queue_takes(world, until):
    world.switcher.accept(world.wish("other", NEW))
    async with world.client() as client:
        waiting = [asyncio.create_task(client.post(TXT2IMG, json=SMALL)) for _ in range(3)]
        await until(lambda: world.services.queue.waiting() == 3)
        refused = await client.post(TXT2IMG, json=SMALL)
        world.engine.loads[0].succeed()
        await until(lambda: len(world.engine.tickets) == 3)
        for ticket in world.engine.tickets:
            ticket.finish()
        assert [model_of(await each) for each in waiting] == ["other"] * 3
    assert (refused.status_code, refused.json()["error"]) == (429, "QueueFull")
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize("dropped", [False, True], ids=["header", "weights"])
async def test_when_the_new_one_cannot_be_loaded_the_old_one_serves_and_the_state_says_why(
    world, until, dropped
):
    engine = world.engine
    world.switcher.accept(world.wish("other", NEW))
    async with world.client() as client:
        waiting = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.services.queue.waiting() and engine.loads)
        engine.loads[0].fail(after_dropping=dropped)
        if dropped:
            await until(lambda: len(engine.loads) == 2)
            assert (engine.loads[1].path.stem, engine.loads[1].sha256) == ("shapes", OLD)
            engine.loads[1].succeed()
        await until(lambda: engine.tickets)
        engine.tickets[0].finish()
        assert model_of(await waiting) == "shapes"
    told = await world.state()
    assert (told["health"], told["error"], world.served) == ("Ready", None, ("shapes", OLD))
    assert told["desired"] == {
        "revision": "other",
        "generation": None,
        "inEffect": False,
        "error": "other.safetensors: is broken",
    }
    assert (len(engine.loads), switches(world, "failed")) == (2 if dropped else 1, 1)
    assert await world.readiness() == (200, "ready")


async def test_when_the_old_one_cannot_be_loaded_again_either_nothing_is_served_until_a_wish_that_can_be(
    world, until
):
    engine = world.engine
    world.switcher.accept(world.wish("other", NEW))
    async with world.client() as client:
        waiting = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.services.queue.waiting() and engine.loads)
        engine.loads[0].fail()
        await until(lambda: len(engine.loads) == 2)
        engine.loads[1].fail()
        failed = await waiting
    assert (failed.status_code, "retry-after" in failed.headers) == (503, True)
    told = await world.state()
    assert (told["health"], told["checkpoint"]) == ("LoadFailed", None)
    assert "other.safetensors: is broken" in told["error"]
    assert "shapes.safetensors: is broken" in told["error"]
    assert await world.readiness() == (503, "LoadFailed")
    world.switcher.accept(world.wish("third", NEWER))
    await until(lambda: len(engine.loads) == 3)
    assert (await world.state())["health"] == "Loading"
    engine.loads[2].succeed()
    await until(lambda: world.services.state.health == "Ready")
    assert world.served == ("third", NEWER)


async def test_an_unforeseen_error_while_loading_is_logged_and_not_told(world, until, caplog):
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    world.engine.loads[0].fail(KeyError("a defect"), after_dropping=False)
    await until(lambda: world.services.state.desired.error)
    assert "in the log" in world.services.state.desired.error
    assert "a defect" not in world.services.state.desired.error
    assert "a defect" in caplog.text


async def test_of_wishes_that_come_while_one_is_loaded_the_last_is_loaded_next_and_nothing_is_served_before(
    world, until
):
    engine = world.engine
    world.switcher.accept(world.wish("other", NEW))
    async with world.client() as client:
        waiting = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.services.queue.waiting() and engine.loads)
        assert world.switcher.accept(world.wish("third", NEWER))
        assert world.switcher.accept(world.wish("fourth", OTHER_BYTES))
        engine.loads[0].succeed()
        await until(lambda: len(engine.loads) == 2)
        assert (world.served, engine.tickets) == (("shapes", OLD), [])
        engine.loads[1].succeed()
        await until(lambda: engine.tickets)
        engine.tickets[0].finish()
        assert model_of(await waiting) == "fourth"
    assert [load.path.stem for load in engine.loads] == ["other", "fourth"]
    assert (switches(world, "superseded"), switches(world, "done")) == (1, 1)


async def test_a_wish_for_the_served_one_while_another_is_loaded_brings_it_back(world, until):
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    assert world.switcher.accept(world.wish("shapes", OLD))
    world.engine.loads[0].succeed()
    await until(lambda: len(world.engine.loads) == 2)
    world.engine.loads[1].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert ([load.path.stem for load in world.engine.loads], world.served) == (
        ["other", "shapes"],
        ("shapes", OLD),
    )
    assert switches(world, "done") == 0


async def test_a_failed_load_that_is_superseded_is_not_told(world, until):
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    world.switcher.accept(world.wish("third", NEWER))
    world.engine.loads[0].fail()
    await until(lambda: len(world.engine.loads) == 2)
    assert world.services.state.desired.error is None
    world.engine.loads[1].fail()
    await until(lambda: len(world.engine.loads) == 3)
    assert world.engine.loads[2].path.stem == "shapes"


async def test_a_wish_that_comes_while_the_old_one_is_loaded_again_follows_it(world, until):
    engine = world.engine
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: engine.loads)
    engine.loads[0].fail()
    await until(lambda: len(engine.loads) == 2)
    world.switcher.accept(world.wish("third", NEWER))
    engine.loads[1].succeed()
    await until(lambda: len(engine.loads) == 3)
    engine.loads[2].succeed()
    await until(lambda: world.served == ("third", NEWER))
    assert (world.services.state.desired.in_effect, world.services.state.desired.error) == (True, None)


async def test_a_wish_that_is_taken_back_before_the_running_requests_have_ended_loads_nothing(world, until):
    async with world.client() as client:
        running = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.engine.tickets)
        world.switcher.accept(world.wish("other", NEW))
        await settle()
        world.switcher.accept(world.wish("shapes", OLD))
        waiting = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.services.queue.waiting() == 2)
        world.engine.tickets[0].finish()
        await running
        await until(lambda: len(world.engine.tickets) == 2)
        world.engine.tickets[1].finish()
        assert model_of(await waiting) == "shapes"
    assert (world.engine.loads, world.services.state.desired.in_effect) == ([], True)


async def test_the_same_file_with_other_bytes_is_another_checkpoint(world, until):
    assert world.switcher.accept(world.wish("shapes", OTHER_BYTES, revision="again"))
    await until(lambda: world.engine.loads)
    world.engine.loads[0].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert world.served == ("shapes", OTHER_BYTES)


async def test_a_wish_for_what_is_served_is_in_effect_at_once(world):
    assert not world.switcher.accept(world.wish("shapes", OLD))
    await settle()
    assert (world.engine.loads, world.services.state.desired.in_effect) == ([], True)


async def test_the_wish_of_a_failed_switch_is_no_news_but_a_new_one_for_the_old_is_in_effect(world, until):
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    world.engine.loads[0].fail(after_dropping=False)
    await until(lambda: world.services.state.desired.error)
    assert not world.switcher.accept(world.wish("other", NEW))
    await settle()
    assert len(world.engine.loads) == 1
    assert not world.switcher.accept(world.wish("shapes", OLD))
    assert (world.services.state.desired.in_effect, world.services.state.desired.error) == (True, None)


async def test_an_older_generation_is_refused_and_the_same_revision_raises_it(world):
    world.switcher.accept(world.wish("shapes", OLD), generation=4)
    assert not world.switcher.accept(world.wish("shapes", OLD), generation=6)
    assert not world.switcher.accept(world.wish("shapes", OLD), generation=5)
    with pytest.raises(OutdatedError, match=r"generation: 5 .* 6 and above"):
        world.switcher.accept(world.wish("other", NEW), generation=5)
    desired = world.services.state.desired
    assert (desired.revision, desired.generation) == ("shapes", 6)
    assert world.switcher.accept(world.wish("other", NEW), generation=6)


async def test_a_wish_before_the_first_load_has_ended_takes_its_place(make_world, loading_engine, until):
    world = make_world(loading_engine)
    world.start()
    await until(lambda: loading_engine.loads)
    world.switcher.accept(world.wish("other", NEW))
    loading_engine.loads[0].succeed()
    await until(lambda: len(loading_engine.loads) == 2)
    assert await world.readiness() == (503, "Loading")
    loading_engine.loads[1].succeed()
    await until(lambda: world.services.state.health == "Ready")
    assert (world.served, switches(world, "superseded")) == (("other", NEW), 0)


async def test_after_a_failed_first_load_a_wish_that_can_be_served_makes_the_process_ready(
    make_world, loading_engine, until
):
    world = make_world(loading_engine)
    world.start()
    await until(lambda: loading_engine.loads)
    loading_engine.loads[0].fail()
    await until(lambda: world.services.state.error)
    assert (await world.state())["desired"]["error"] == "shapes.safetensors: is broken"
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: len(loading_engine.loads) == 2)
    loading_engine.loads[1].succeed()
    await until(lambda: world.services.state.health == "Ready")
    told = await world.state()
    assert (told["error"], told["desired"]["error"], told["desired"]["inEffect"]) == (None, None, True)
    assert told["startup"] == {"loadSeconds": 1.0, "warmUpSeconds": 0.0}


async def test_a_process_that_ends_takes_no_wish_and_finishes_the_switch_for_those_who_wait(world, until):
    services = world.services
    world.switcher.accept(world.wish("other", NEW))
    async with world.client() as client:
        waiting = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: services.queue.waiting() and world.engine.loads)
        draining = asyncio.create_task(
            drain(state=services.state, queue=services.queue, ledger=services.ledger, seconds=60)
        )
        await settle()
        with pytest.raises(Draining):
            world.switcher.accept(world.wish("third", NEWER))
        world.engine.loads[0].succeed()
        await until(lambda: world.engine.tickets)
        world.engine.tickets[0].finish()
        await draining
        assert model_of(await waiting) == "other"


async def test_a_process_that_ends_serves_those_who_wait_with_what_is_loaded_not_with_what_is_wished_last(
    world, until
):
    services = world.services
    world.switcher.accept(world.wish("other", NEW))
    async with world.client() as client:
        waiting = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: services.queue.waiting() and world.engine.loads)
        world.switcher.accept(world.wish("third", NEWER))
        draining = asyncio.create_task(
            drain(state=services.state, queue=services.queue, ledger=services.ledger, seconds=60)
        )
        await settle()
        world.engine.loads[0].succeed()
        await until(lambda: world.engine.tickets)
        world.engine.tickets[0].finish()
        await draining
        assert model_of(await waiting) == "other"
    desired = (await world.state())["desired"]
    assert (desired["revision"], desired["inEffect"]) == ("third", False)


async def test_somebody_at_the_users_door_may_have_another_checkpoint_served_and_waits_for_it(world, until):
    path = world.folder / "other.safetensors"
    switching = asyncio.create_task(world.switcher.switch_to(path))
    await until(lambda: world.engine.loads)
    assert not switching.done()
    world.engine.loads[0].succeed()
    await switching
    assert world.served == ("other", world.engine.resident.sha256)
    await world.switcher.switch_to(path)
    assert len(world.engine.loads) == 1


async def test_who_asks_for_one_that_cannot_be_loaded_is_told_and_the_old_one_is_wished_again(world, until):
    error = CheckpointUnavailable("other.safetensors: cannot be read: Input/output error")
    for tries in (1, 2):
        switching = asyncio.create_task(world.switcher.switch_to(world.folder / "other.safetensors"))
        await until(lambda tries=tries: len(world.engine.loads) == tries)
        world.engine.loads[-1].fail(error, after_dropping=False)
        with pytest.raises(CheckpointError, match="Input/output error"):
            await switching
    assert (world.served, world.services.state.desired.in_effect) == (("shapes", OLD), True)
    await until(lambda: not world.pauses.going_on)


async def test_who_asks_for_one_while_another_is_asked_for_is_told_so(world, until):
    first = asyncio.create_task(world.switcher.switch_to(world.folder / "other.safetensors"))
    await until(lambda: world.engine.loads)
    second = asyncio.create_task(world.switcher.switch_to(world.folder / "third.safetensors"))
    with pytest.raises(Superseded, match=r"other.safetensors: another .* was asked for .* third.safetensors"):
        await first
    world.engine.loads[0].succeed()
    await until(lambda: len(world.engine.loads) == 2)
    world.engine.loads[1].succeed()
    await second
    assert world.served[0] == "third"


async def test_of_options_that_name_a_checkpoint_the_later_wish_counts_and_the_earlier_one_is_a_conflict(
    world, until
):
    world.services.switch = world.switcher.switch_to
    async with world.client() as client:
        first = asyncio.create_task(
            client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "other", "jpeg_quality": 70})
        )
        await until(lambda: world.engine.loads)
        world.switcher.accept(world.wish("third", NEWER))
        answer = await first
        assert (answer.status_code, answer.json()["error"]) == (409, "Superseded")
        assert "third.safetensors, which counts" in answer.json()["detail"]
        assert (await client.get("/sdapi/v1/options")).json()["jpeg_quality"] == 80


async def test_who_waits_for_a_checkpoint_while_the_process_ends_is_told_so(world, until):
    switching = asyncio.create_task(world.switcher.switch_to(world.folder / "other.safetensors"))
    await until(lambda: world.engine.loads)
    following = world.tasks.pop()
    following.cancel()
    with pytest.raises(Draining, match=r"other.safetensors: this replica ended before it was served"):
        await switching
