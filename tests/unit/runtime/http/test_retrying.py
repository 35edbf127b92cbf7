"""A wish that failed is tried again by itself, and what is served is not given up for a try that is hopeless.
Loads, pictures and pauses are ended by the test.
"""

import asyncio
import hashlib
import json
import os
import signal
import threading
from functools import partial

import pytest
from checkpoint_files import checkpoint_bytes

from sd_runtime import serving
from sd_runtime.errors import CheckpointError, CheckpointUnavailable, DeviceError, GenerationError
from sd_runtime.serving import drain

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}
OLD, NEWER = "ab12" * 16, "ef56" * 16
#: Of other.safetensors as it lies there.
NEW = hashlib.sha256(checkpoint_bytes(b"y")).hexdigest()
GLITCH = CheckpointUnavailable("other.safetensors: cannot be read: Input/output error")


@pytest.fixture
def world(switching_world):
    """Serves shapes.safetensors."""
    return switching_world


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def lose_everything(world, until, error=None):
    """A wish fails, and so does the way back."""
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    world.engine.loads[0].fail(error)
    await until(lambda: len(world.engine.loads) == 2)
    world.engine.loads[1].fail(error)
    await until(lambda: world.services.state.health == "LoadFailed")


async def fail_and_go_back(world, until, error):
    """A wish fails when the old network is gone already; the old one serves again."""
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    world.engine.loads[0].fail(error)
    await until(lambda: len(world.engine.loads) == 2)
    world.engine.loads[1].succeed()
    await settle()
    assert (world.served, world.services.state.desired.error) == (("shapes", OLD), str(error))


def failures(world):
    registry = world.services.metrics.registry
    return registry.get_sample_value("sd_checkpoint_switches_total", {"result": "failed"})


async def test_when_nothing_is_served_the_wish_is_tried_again_and_makes_the_process_ready(world, until):
    await lose_everything(world, until)
    before = await world.state()
    await world.pauses.end()
    await until(lambda: len(world.engine.loads) == 3)
    assert (world.engine.loads[2].path.stem, world.engine.loads[2].sha256) == ("other", NEW)
    assert await world.state() == before
    assert await world.readiness() == (503, "LoadFailed")
    world.engine.loads[2].succeed()
    await until(lambda: world.services.state.health == "Ready")
    told = await world.state()
    assert world.served == ("other", NEW)
    assert (told["error"], told["desired"]["error"], told["desired"]["inEffect"]) == (None, None, True)
    await settle()
    assert world.pauses.going_on == []


async def test_when_nothing_is_served_and_the_wish_fails_again_the_checkpoint_before_it_is_tried_again_too(
    world, until
):
    await lose_everything(world, until, GLITCH)
    await world.pauses.end()
    await until(lambda: len(world.engine.loads) == 3)
    world.engine.loads[2].fail(GLITCH)
    await until(lambda: len(world.engine.loads) == 4)
    assert (world.engine.loads[3].path.stem, world.engine.loads[3].sha256) == ("shapes", OLD)
    world.engine.loads[3].succeed()
    await until(lambda: world.services.state.health == "Ready")
    told = await world.state()
    assert (world.served, told["error"]) == (("shapes", OLD), None)
    assert (told["desired"]["error"], told["desired"]["inEffect"]) == (str(GLITCH), False)
    async with world.client() as client:
        request = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.engine.tickets)
        world.engine.tickets[0].finish()
        assert (await request).status_code == 200
    await world.pauses.end()
    await until(lambda: len(world.engine.loads) == 5)
    world.engine.loads[4].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert world.served == ("other", NEW)


async def test_a_checkpoint_that_failed_its_warm_up_on_the_way_back_is_not_served_without_one(
    make_world, loading_engine, until
):
    world, engine = make_world(loading_engine, warm_up="on"), loading_engine
    world.start()
    await until(lambda: engine.loads)
    engine.loads[0].succeed()
    await until(lambda: engine.tickets)
    engine.tickets[0].finish()
    await until(lambda: world.services.state.health == "Ready")
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: len(engine.loads) == 2)
    engine.loads[1].fail()
    await until(lambda: len(engine.loads) == 3)
    engine.loads[2].succeed()
    await until(lambda: len(engine.tickets) == 2)
    engine.tickets[1].fail(GenerationError("not finite"))
    await until(lambda: world.services.state.health == "LoadFailed")
    await world.pauses.end()
    await until(lambda: len(engine.loads) == 4)
    engine.loads[3].fail(after_dropping=False)
    await until(lambda: len(engine.loads) == 5)
    assert (engine.loads[4].path.stem, world.services.state.health) == ("shapes", "LoadFailed")


@pytest.mark.parametrize(
    "error",
    [GLITCH, CheckpointError("not a safetensors file"), DeviceError("no CUDA device"), KeyError("a defect")],
    ids=lambda error: type(error).__name__,
)
async def test_a_failed_first_load_is_tried_again_whatever_was_wrong(
    make_world, loading_engine, until, error
):
    world = make_world(loading_engine)
    world.start()
    await until(lambda: loading_engine.loads)
    loading_engine.loads[0].fail(error)
    await until(lambda: world.services.state.error)
    told = world.services.state.error
    await world.pauses.end()
    await until(lambda: len(loading_engine.loads) == 2)
    assert (world.services.state.health, world.services.state.error) == ("LoadFailed", told)
    loading_engine.loads[1].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert (world.served, world.services.state.health) == (("shapes", OLD), "Ready")
    assert failures(world) == 1


async def test_pauses_begin_with_ten_seconds_double_up_to_five_minutes_and_are_shortened_by_chance(
    make_world, unloadable_engine, until
):
    world = make_world(unloadable_engine)
    world.start()
    for _ in range(7):
        await world.pauses.end()
    await until(lambda: len(world.pauses.asked) == 8)
    longest = [10, 20, 40, 80, 160, 300, 300, 300]
    parts = [asked / most for asked, most in zip(world.pauses.asked, longest, strict=True)]
    assert all(0.8 <= part <= 1 for part in parts)
    assert len(set(parts)) > 1
    assert failures(world) == 8


async def test_while_the_old_one_serves_what_may_pass_is_tried_again(world, until):
    await fail_and_go_back(world, until, GLITCH)
    await world.pauses.end()
    await until(lambda: len(world.engine.loads) == 3)
    assert (world.services.state.health, world.services.state.desired.error) == ("Ready", str(GLITCH))
    world.engine.loads[2].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert (world.served, world.services.state.desired.error) == (("other", NEW), None)
    assert world.pauses.going_on == []


@pytest.mark.parametrize(
    "error",
    [
        CheckpointError("the family FLUX is not supported"),
        GenerationError("not finite"),
        KeyError("a defect"),
    ],
    ids=["format", "warm-up", "unforeseen"],
)
async def test_while_the_old_one_serves_what_cannot_pass_is_not_tried_again(world, until, error):
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    world.engine.loads[0].fail(error, after_dropping=False)
    await until(lambda: world.services.state.desired.error)
    await settle()
    assert (world.pauses.asked, world.served) == ([], ("shapes", OLD))


@pytest.mark.parametrize("there", [None, b"z" * 0x110000], ids=["missing", "other bytes"])
async def test_the_old_one_is_not_given_up_before_the_file_is_the_wished_one(world, until, there):
    await fail_and_go_back(world, until, GLITCH)
    file = world.folder / "other.safetensors"
    good = file.read_bytes()
    file.unlink()
    if there:
        file.write_bytes(there)
    async with world.client() as client:
        running = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: world.engine.tickets)
        for number in (1, 2, 3):
            assert failures(world) == number
            await world.pauses.end()
            await until(lambda number=number: len(world.pauses.asked) == number + 1)
            expected = "is wanted" if there else "cannot be read: No such file"
            assert expected in world.services.state.desired.error
        also = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: len(world.engine.tickets) == 2)  # nothing was held back for it
        for ticket in world.engine.tickets:
            ticket.finish()
        for answer in (await running, await also):
            assert json.loads(answer.json()["info"])["sd_model_name"] == "shapes"
    assert (len(world.engine.loads), world.served) == (2, ("shapes", OLD))
    file.unlink(missing_ok=True)
    file.write_bytes(good)
    await world.pauses.end()
    await until(lambda: len(world.engine.loads) == 3)
    world.engine.loads[2].succeed()
    await until(lambda: world.services.state.desired.in_effect)


async def test_the_pauses_go_on_growing_when_the_old_one_serves_between_the_tries(world, until):
    await fail_and_go_back(world, until, GLITCH)
    await world.pauses.end()
    await until(lambda: len(world.engine.loads) == 3)
    world.engine.loads[2].fail(GLITCH)
    await until(lambda: len(world.engine.loads) == 4)
    world.engine.loads[3].succeed()
    await until(lambda: len(world.pauses.asked) == 2)
    assert 8 <= world.pauses.asked[0] <= 10 < 16 <= world.pauses.asked[1] <= 20
    assert failures(world) == 2


async def test_the_same_wish_again_neither_hastens_nor_ends_the_retry(world, until):
    await fail_and_go_back(world, until, GLITCH)
    await until(lambda: world.pauses.going_on)
    assert not world.switcher.accept(world.wish("other", NEW))
    await settle()
    assert (len(world.engine.loads), len(world.pauses.going_on)) == (2, 1)


async def test_a_new_wish_ends_the_retry_at_once_and_its_own_begins_with_the_first_pause(world, until):
    await lose_everything(world, until)
    await world.pauses.end()
    await until(lambda: len(world.engine.loads) == 3)
    world.engine.loads[2].fail()
    await until(lambda: len(world.engine.loads) == 4)
    world.engine.loads[3].fail()
    await until(lambda: len(world.pauses.asked) == 2)
    assert world.switcher.accept(world.wish("third", NEWER))
    await until(lambda: len(world.engine.loads) == 5)
    assert (world.pauses.going_on, world.services.state.health) == ([], "Loading")
    assert world.engine.loads[4].path.stem == "third"
    world.engine.loads[4].fail()
    await until(lambda: len(world.engine.loads) == 6)
    world.engine.loads[5].fail()
    await until(lambda: len(world.pauses.asked) == 3)
    assert 8 <= world.pauses.asked[2] <= 10


async def test_a_wish_for_the_served_one_ends_the_retry_of_another(world, until):
    await fail_and_go_back(world, until, GLITCH)
    await until(lambda: world.pauses.going_on)
    assert not world.switcher.accept(world.wish("shapes", OLD))
    await until(lambda: not world.pauses.going_on)
    assert (len(world.engine.loads), world.services.state.desired.in_effect) == (2, True)


async def test_a_process_that_ends_begins_no_try(world, until):
    await lose_everything(world, until)
    await until(lambda: world.pauses.going_on)
    await drain(
        state=world.services.state,
        queue=world.services.queue,
        ledger=world.services.ledger,
        seconds=60,
    )
    await world.pauses.end()
    await settle()
    assert (len(world.engine.loads), len(world.pauses.asked)) == (2, 1)


async def test_sigterm_ends_the_pause_before_a_try(make_world, unloadable_engine, until):
    world = make_world(unloadable_engine)
    living = asyncio.create_task(
        serving.run(
            [],
            follow_wishes=world.switcher.run,
            drain_jobs=partial(
                drain,
                state=world.services.state,
                queue=world.services.queue,
                ledger=world.services.ledger,
                seconds=60,
            ),
        )
    )
    await until(lambda: world.pauses.going_on)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(living, 10)
    await until(lambda: not world.pauses.going_on)


async def test_a_new_wish_ends_the_reading_of_the_file_that_goes_before_a_try(world, until):
    await fail_and_go_back(world, until, GLITCH)
    os.truncate(world.folder / "other.safetensors", 1 << 35)  # of holes: takes a minute to read
    await world.pauses.end()
    await until(lambda: any("asyncio" in thread.name for thread in threading.enumerate()))
    world.switcher.accept(world.wish("shapes", OLD))
    await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 10)
    assert world.services.state.desired.in_effect
