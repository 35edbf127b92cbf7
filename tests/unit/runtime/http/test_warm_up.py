"""A checkpoint makes a small picture before it is served; one that cannot is not served."""

import asyncio
import json

import pytest

from sd_runtime.errors import GenerationError

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}
OLD, NEW = "ab12" * 16, "cd34" * 16


@pytest.fixture
async def warming(make_world, loading_engine, until):
    """A server whose first checkpoint is loaded and whose warm-up picture is not made yet."""
    world = make_world(loading_engine, warm_up="on")
    world.start()
    await until(lambda: loading_engine.loads)
    loading_engine.loads[0].succeed()
    await until(lambda: loading_engine.tickets)
    return world


async def test_a_checkpoint_is_served_only_after_its_warm_up_picture(warming, until):
    (ticket,) = warming.engine.tickets
    assert (ticket.task.width, ticket.task.height, ticket.task.steps) == (64, 64, 2)
    assert await warming.readiness() == (503, "Loading")
    ticket.finish()
    await until(lambda: warming.services.state.health == "Ready")
    # The clock ticks once a look: before the load, after it, after the picture.
    assert (await warming.state())["startup"] == {"loadSeconds": 1.0, "warmUpSeconds": 1.0}


async def test_a_first_checkpoint_that_cannot_make_its_warm_up_picture_is_a_failed_load(warming, until):
    warming.engine.tickets[0].fail(GenerationError("the latents are not finite"))
    await until(lambda: warming.services.state.error)
    told = await warming.state()
    assert (told["health"], told["startup"]) == ("LoadFailed", None)
    assert told["error"] == "the warm-up picture failed: the latents are not finite"


async def test_after_a_switch_too_and_one_that_cannot_gives_way_to_the_one_before(warming, until):
    engine = warming.engine
    engine.tickets[0].finish()
    await until(lambda: warming.services.state.health == "Ready")
    warming.switcher.accept(warming.wish("other", NEW))
    await until(lambda: len(engine.loads) == 2)
    engine.loads[1].succeed()
    await until(lambda: len(engine.tickets) == 2)
    assert (warming.served, warming.services.state.desired.in_effect) == (("shapes", OLD), False)
    engine.tickets[1].fail(GenerationError("not finite"))
    await until(lambda: len(engine.loads) == 3)
    assert (engine.loads[2].path.stem, engine.loads[2].sha256) == ("shapes", OLD)
    engine.loads[2].succeed()
    await until(lambda: len(engine.tickets) == 3)
    engine.tickets[2].finish()
    async with warming.client() as client:
        request = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: len(engine.tickets) == 4)
        engine.tickets[3].finish()
        info = json.loads((await request).json()["info"])
    assert info["sd_model_name"] == "shapes"
    told = await warming.state()
    assert told["desired"]["error"] == "the warm-up picture failed: not finite"
    assert (told["health"], warming.served) == ("Ready", ("shapes", OLD))


async def test_metrics_tell_how_long_the_last_checkpoint_took(warming, until):
    warming.engine.tickets[0].finish()
    await until(lambda: warming.services.state.health == "Ready")
    registry = warming.services.metrics.registry
    assert registry.get_sample_value("sd_checkpoint_load_seconds") == 1
    assert registry.get_sample_value("sd_checkpoint_warm_up_seconds") == 1
