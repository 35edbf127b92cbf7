"""Options as part of the desired state: the replica's defaults, below what clients change."""

import pytest

OLD, NEW, NEWER = "ab12" * 16, "cd34" * 16, "ef56" * 16


@pytest.fixture
def world(switching_world):
    """Serves shapes.safetensors."""
    return switching_world


async def options_of(world):
    async with world.client() as client:
        return (await client.get("/sdapi/v1/options")).json()


async def change_option(world, **changes):
    async with world.client() as client:
        assert (await client.post("/sdapi/v1/options", json=changes)).status_code == 200


async def test_wished_options_are_the_defaults_and_what_cannot_be_honoured_is_told(world):
    options = {"CLIP_stop_at_last_layers": 2, "samples_save": "maybe", "nonsense": 1}
    assert not world.switcher.accept(world.wish("shapes", OLD, options=options))
    assert (await options_of(world))["CLIP_stop_at_last_layers"] == 2
    errors = (await world.state())["optionErrors"]
    assert [error["name"] for error in errors] == ["samples_save", "nonsense"]
    assert "'maybe'" in errors[0]["message"]
    assert world.services.state.desired.in_effect


async def test_options_come_into_effect_with_their_checkpoint_and_not_when_it_fails(world, until):
    options = {"CLIP_stop_at_last_layers": 2}
    world.switcher.accept(world.wish("other", NEW, options=options))
    await until(lambda: world.engine.loads)
    assert (await options_of(world))["CLIP_stop_at_last_layers"] == 1
    world.engine.loads[0].fail(after_dropping=False)
    await until(lambda: world.services.state.desired.error)
    assert (await options_of(world))["CLIP_stop_at_last_layers"] == 1
    world.switcher.accept(world.wish("third", NEWER, options=options))
    await until(lambda: len(world.engine.loads) == 2)
    world.engine.loads[1].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert (await options_of(world))["CLIP_stop_at_last_layers"] == 2


async def test_a_wish_for_another_checkpoint_alone_leaves_what_clients_changed(world, until):
    await change_option(world, samples_save=False)
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    world.engine.loads[0].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert (await options_of(world))["samples_save"] is False
    world.switcher.accept(world.wish("other", NEW, revision="options", options={"sd_vae": "None"}))
    told = await options_of(world)
    assert (told["samples_save"], told["sd_vae"]) == (True, "None")


async def test_the_checkpoint_that_clients_see_in_the_options_is_the_served_one(world, until):
    world.switcher.accept(world.wish("other", NEW))
    await until(lambda: world.engine.loads)
    assert (await options_of(world))["sd_model_checkpoint"] == "shapes.safetensors [ab12ab12ab]"
    world.engine.loads[0].succeed()
    await until(lambda: world.services.state.desired.in_effect)
    assert (await options_of(world))["sd_model_checkpoint"] == "other.safetensors [cd34cd34cd]"
