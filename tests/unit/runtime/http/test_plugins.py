"""Plugins over HTTP: in the state, in the metrics, and their upscalers among A1111's. The plugins are at real
sockets."""

import asyncio
import base64

import numpy as np
import pytest

from sd_modelfiles import place
from sd_modelfiles.kinds import ModelType
from sd_operator.runtime_client import MAX_ANSWER, RuntimeState
from sd_runtime.images import codec
from sd_runtime.plugins import UPSCALER
from sd_runtime.settings import WantedPlugin
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import module

#: What files on the volumes take of the operator's bound: 1,024 of them, with long paths.
FILES = 512 * 1024
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}
X3 = {"kind": UPSCALER, "modules": [module("x3", label="Three times", factor=3)]}


def encoded(side=8):
    return base64.b64encode(codec.encode(np.full((side, side, 3), 200, np.uint8), "png", None)).decode()


@pytest.fixture
async def make_plugin_world(make_world, prompt_engine, tmp_path):
    """A server with these plugins, polled once each."""
    made = []

    async def make(*plugins, engine=prompt_engine):
        made.extend(plugins)
        wanted = [WantedPlugin(name=each.name, kind=each.described["kind"]) for each in plugins]
        world = make_world(engine, plugin_dir=tmp_path, plugins=wanted, plugin_seconds=5)
        await world.load()
        await poll(world)
        made.append(world.services.plugins)
        return world

    yield make
    for each in made:
        (each.stop if isinstance(each, misbehaving.Plugin) else each.close)()


async def poll(world):
    for plugin in world.services.plugins._plugins.values():
        await asyncio.to_thread(plugin.poll)


@pytest.fixture
def upscale(tmp_path):
    return misbehaving.Plugin(tmp_path, "upscale", **X3).listen()


@pytest.fixture
async def world(make_plugin_world, upscale):
    return await make_plugin_world(upscale)


@pytest.fixture
async def world_without(make_plugin_world, upscale):
    """The plugin had answered, and is gone."""
    made = await make_plugin_world(upscale)
    upscale.describe = lambda: misbehaving.refused("503 Unavailable", "Unavailable", "its worker ends")
    await poll(made)
    return made


async def test_the_operator_reads_the_state_of_the_chattiest_plugins(make_plugin_world, tmp_path):
    """As many as an instance may have; each has the names of the others, so that each is told of that too."""
    reason = "\U0001f600" * 500
    many = [module(f"{number:03}".ljust(63, "x"), available=False, reason=reason) for number in range(128)]
    chatty = [misbehaving.Plugin(tmp_path, f"chatty-{number}", modules=many).listen() for number in range(16)]
    world = await make_plugin_world(*chatty)
    async with world.management() as client:
        answer = await client.get("/v1/state")
    assert len(answer.content) < MAX_ANSWER - FILES
    state = RuntimeState.model_validate_json(answer.content)
    assert [(each.ready, len(each.modules)) for each in state.plugins] == [(True, 64)] * 16
    assert state.plugins[0].modules[0].reason == "\U0001f600" * 199 + "…"
    assert max(len(each.message) for each in state.plugins) == 1000


async def test_the_state_tells_of_every_plugin_and_its_modules(world):
    assert (await world.state())["plugins"] == [
        {
            "name": "upscale",
            "kind": "Upscaler",
            "version": "0.1.0",
            "ready": True,
            "reason": "",
            "message": "",
            "modules": [{"name": "x3", "available": True, "reason": ""}],
        }
    ]


async def test_a_plugin_that_is_down_is_told_with_the_reason_and_the_server_is_ready(world_without):
    (plugin,) = (await world_without.state())["plugins"]
    assert (plugin["ready"], plugin["reason"]) == (False, "NotAnswering")
    told = "upscale does not answer: GET /v1/plugin is answered with status 503: its worker ends"
    assert plugin["message"] == told
    assert plugin["modules"] == [{"name": "x3", "available": False, "reason": told}]
    assert await world_without.readiness() == (200, "ready")


async def test_users_are_told_which_modules_can_be_used_and_why_others_cannot(world, world_without):
    described = {"name": "upscale", "kind": "Upscaler"}
    module_ = {"name": "x3", "label": "Three times"}
    for each, ready in ((world, True), (world_without, False)):
        async with each.client() as client:
            (plugin,) = (await client.get("/v1/plugins")).json()["plugins"]
        reason = plugin["message"]
        assert ("its worker ends" in reason) is not ready
        assert plugin == {
            **described,
            "ready": ready,
            "reason": "" if ready else "NotAnswering",
            "message": reason,
            "modules": [{**module_, "available": ready, "reason": reason}],
        }


async def test_a_module_is_told_by_the_name_that_leads_to_it(make_plugin_world, tmp_path):
    both = [
        misbehaving.Plugin(tmp_path, name, modules=[module("edges", label="Edges")]).listen()
        for name in ("first", "second")
    ]
    world = await make_plugin_world(*both)
    async with world.client() as client:
        told = (await client.get("/v1/plugins")).json()["plugins"]
        listed = (await client.get("/controlnet/module_list")).json()["module_list"]
    names = [each["name"] for plugin in told for each in plugin["modules"]]
    assert names == ["edges", "second/edges"]
    assert set(names) <= set(listed)


async def test_metrics_tell_of_readiness_and_runs(make_plugin_world, upscale, tmp_path):
    absent = misbehaving.Plugin(tmp_path, "absent")
    world = await make_plugin_world(upscale, absent)
    world.services.metrics.watch_plugins(
        lambda: {each.name: each.ready for each in world.services.plugins.states()}
    )
    handle = world.services.plugins.find(UPSCALER, "x3")
    await world.services.plugins.ask(handle, np.zeros((4, 4, 3), np.uint8))
    async with world.management() as client:
        told = (await client.get("/metrics")).text
    assert 'sd_plugin_ready{plugin="upscale"} 1.0' in told
    assert 'sd_plugin_ready{plugin="absent"} 0.0' in told
    assert 'sd_plugin_runs_total{module="x3",outcome="done",plugin="upscale"} 1.0' in told
    assert 'sd_plugin_run_seconds_count{module="x3",plugin="upscale"} 1.0' in told


async def test_its_upscalers_are_listed_behind_those_with_files(world):
    async with world.client() as client:
        listed = (await client.get("/sdapi/v1/upscalers")).json()
    assert listed[-1] == {
        "name": "x3",
        "model_name": None,
        "model_path": None,
        "model_url": None,
        "scale": 3,
    }


async def test_what_cannot_be_used_is_in_no_list(world_without):
    async with world_without.client() as client:
        listed = (await client.get("/sdapi/v1/upscalers")).json()
    assert "x3" not in [each["name"] for each in listed]


@pytest.mark.parametrize("name", ["x3", "X3", "Three times", "upscale/x3", "x3 (old)"])
async def test_extras_have_it_by_any_of_its_names(world, upscale, name):
    body = {"image": encoded(), "upscaler_1": name, "upscaler_2": "x3", "extras_upscaler_2_visibility": 0.5}
    async with world.client() as client:
        answer = (await client.post("/sdapi/v1/extra-single-image", json=body)).json()
    assert "Postprocess upscaler: x3, Postprocess upscaler 2: x3" in answer["html_info"]
    task = world.engine.tickets[-1].task
    for upscaler in (task.upscaler_1, task.upscaler_2):
        assert upscaler.plugin(task.image).shape == (24, 24, 3)
    assert len(upscale.runs) == 2


async def test_the_second_pass_has_it(world):
    body = SMALL | {"enable_hr": True, "hr_upscaler": "x3", "hr_scale": 2}
    async with world.client() as client:
        answer = (await client.post("/sdapi/v1/txt2img", json=body)).json()
    assert "Hires upscaler: x3" in answer["info"]
    assert world.engine.tickets[-1].task.hires.upscaler.plugin is not None


async def test_the_option_of_img2img_takes_it_also_while_it_is_down(world, world_without):
    async with world.client() as client:
        changed = await client.post("/sdapi/v1/options", json={"upscaler_for_img2img": "x3"})
        assert changed.status_code == 200
        options = (await client.get("/sdapi/v1/options")).json()
    assert options["upscaler_for_img2img"] == "x3"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("extra-single-image", {"image": encoded(), "upscaler_1": "x3"}),
        ("extra-single-image", {"image": encoded(), "upscaler_1": "Lanczos", "upscaler_2": "x3"}),
        ("txt2img", SMALL | {"enable_hr": True, "hr_upscaler": "x3"}),
        (
            "img2img",
            SMALL | {"init_images": [encoded()], "override_settings": {"upscaler_for_img2img": "x3"}},
        ),
    ],
)
async def test_while_it_is_down_who_asks_for_it_is_refused_before_anything_is_queued(
    world_without, path, body
):
    async with world_without.client() as client:
        answer = await client.post(f"/sdapi/v1/{path}", json=body)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["error"] == "PluginUnavailable"
    assert answer.json()["detail"].startswith("plugin upscale, module x3: upscale does not answer: ")
    assert world_without.engine.tickets == []


async def test_one_that_is_not_there_is_refused_with_those_that_are(world):
    async with world.client() as client:
        answer = await client.post(
            "/sdapi/v1/extra-single-image", json={"image": encoded(), "upscaler_1": "x4"}
        )
    assert answer.status_code == 422
    assert "Nearest, x3" in answer.json()["detail"]


async def test_a_plugin_that_fails_is_a_bad_gateway_and_named(
    make_plugin_world, upscale, tmp_path, failing_engine
):
    from sd_runtime.errors import PluginError

    world = await make_plugin_world(
        upscale, engine=failing_engine(PluginError("plugin upscale, module x3: no"))
    )
    async with world.client() as client:
        answer = await client.post(
            "/sdapi/v1/extra-single-image", json={"image": encoded(), "upscaler_1": "x3"}
        )
    assert answer.status_code == 502
    assert (answer.json()["error"], answer.json()["detail"]) == (
        "PluginFailed",
        "plugin upscale, module x3: no",
    )


async def test_a_name_that_a_file_has_leads_to_the_file_and_that_is_told(make_plugin_world, tmp_path, caplog):
    import small_files

    folder = tmp_path / "bundle" / place.folder_of(ModelType.UPSCALER)
    folder.mkdir(parents=True)
    (folder / "soft-4x.safetensors").write_bytes(small_files.of(ModelType.UPSCALER))
    modules = [module("soft-4x", factor=3), module("lanczos", factor=2)]
    shadowed = misbehaving.Plugin(tmp_path, "shadowed", kind=UPSCALER, modules=modules).listen()
    world = await make_plugin_world(shadowed)
    async with world.client() as client:
        listed = (await client.get("/sdapi/v1/upscalers")).json()
        await client.post("/sdapi/v1/extra-single-image", json={"image": encoded(), "upscaler_1": "soft-4x"})
    named = [(each["name"], each["scale"], each["model_path"] is None) for each in listed[-3:]]
    assert named == [
        ("soft-4x", 4, False),
        ("shadowed/soft-4x", 3, True),
        ("shadowed/lanczos", 2, True),
    ]
    assert world.engine.tickets[-1].task.upscaler_1.path.name == "soft-4x.safetensors"
    assert "the name soft-4x leads to a file; the plugin's upscaler is shadowed/soft-4x" in caplog.text
    assert "the name lanczos leads to an upscaler that is built in" in caplog.text
