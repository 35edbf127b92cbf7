"""What a module run by itself (/controlnet/detect) may take of memory: its maps, and the answer that they go
into."""

import base64
import gc

import httpx
import numpy as np
import pytest
from fake_plugins import FakePlugins

from sd_runtime.a1111.schemas.controlnet import DetectRequest
from sd_runtime.app import create_app
from sd_runtime.errors import PluginError
from sd_runtime.guards import body_limit
from sd_runtime.images.codec import encode
from sd_runtime.routes import picture_urls
from sd_runtime.routes.intake import Intake

DETECT = "/controlnet/detect"
#: Of a picture as the tests send it.
SIDE = 64
#: Of its map at the least resolution that the module has.
MAP = 64 * 64


def noise(width=SIDE, height=SIDE):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return base64.b64encode(encode(pixels, "png", None)).decode()


def body(*images, **fields):
    given = {"module": "canny", "processor_res": 64, "input_images": list(images)} | fields
    return {f"controlnet_{name}": value for name, value in given.items()}


@pytest.fixture
async def make_detecting(make_world, prompt_engine):
    def make(**settings):
        world = make_world(prompt_engine, **settings)
        world.services.plugins = FakePlugins()
        return world

    return make


async def post(world, given):
    async with world.client() as client:
        return await client.post(DETECT, json=given)


@pytest.mark.parametrize(
    ("images", "first"),
    [
        ([noise()] * 4, 3),
        ([noise(1, 100)], 0),
        ([noise(), noise(1, 200), noise()], 1),
    ],
)
async def test_maps_of_more_pixels_than_a_request_may_have_are_refused_before_one_is_made(
    make_detecting, images, first
):
    world = make_detecting(max_pixels_per_request=3 * MAP)
    response = await post(world, body(*images))
    assert response.status_code == 422, response.text
    assert response.json()["detail"].startswith(f"controlnet_input_images.{first}: ")
    assert f"at most {3 * MAP}" in response.json()["detail"]
    assert world.services.plugins.runs == []
    assert world.services.intake.pixels.held == 0


async def test_as_many_as_a_request_may_have_are_answered(make_detecting):
    response = await post(make_detecting(max_pixels_per_request=3 * MAP), body(*[noise()] * 3))
    assert len(response.json()["images"]) == 3


async def test_a_broken_picture_is_refused_before_the_map_of_another_is_made(make_detecting):
    world = make_detecting()
    response = await post(world, body(noise(), "!!"))
    assert response.json()["detail"].startswith("controlnet_input_images.1: ")
    assert world.services.plugins.runs == []


async def test_so_is_one_that_is_too_large_for_the_module(make_detecting):
    world = make_detecting()
    response = await post(world, body(noise(), noise(2048, 1024), module="invert"))
    assert response.json()["detail"].startswith("controlnet_input_images.1: '2048x1024' ")
    assert world.services.plugins.runs == []


async def test_a_picture_that_is_fetched_counts_once_it_is_there(make_detecting, monkeypatch):
    async def fetch(url, *, max_bytes):
        return base64.b64decode(noise(1, 200))

    monkeypatch.setattr(picture_urls, "fetch", fetch)
    world = make_detecting(max_pixels_per_request=3 * MAP, image_urls="on")
    response = await post(world, body(noise(), "http://example.com/a.png"))
    assert (response.status_code, len(world.services.plugins.runs)) == (422, 1)
    assert response.json()["detail"].startswith("controlnet_input_images.1: ")


async def test_the_answer_is_held_until_it_is_sent(make_detecting):
    world = make_detecting()
    held = []
    response = await _watched(world, body(*[noise()] * 3, module="invert"), held)
    assert len(response.json()["images"]) == 3
    assert min(held) == max(held) == sum(len(each) // 4 for each in response.json()["images"])
    assert world.services.intake.pixels.held == 0


async def test_the_request_is_let_go_of_before_its_answer_is_sent(make_detecting, monkeypatch):
    monkeypatch.setattr(body_limit, "SMALL_BYTES", 16)
    gc.collect()  # what other tests have left
    world = make_detecting()
    given = body(*[noise()] * 3, module="invert")
    bodies = world.services.intake.bodies
    seen, ask = [], world.services.plugins.ask

    async def watching(*told, **more):
        seen.append((bodies.held, _requests()))
        return await ask(*told, **more)

    world.services.plugins.ask = watching
    sent = []
    await _watched(world, given, [], sees=lambda: sent.append((bodies.held, _requests())))
    assert seen[0][0] > 0 and seen[0][1] == 1
    assert sent and set(sent) == {(0, 0)}


def _requests():
    # Some modules have objects that warn when anything else is asked of them.
    return sum(type(each) is DetectRequest for each in gc.get_objects())


async def test_an_answer_whose_client_has_gone_holds_nothing(make_detecting):
    world = make_detecting()
    with pytest.raises(Exception, match="gone"):
        await _watched(world, body(noise()), held := [], leaves=True)
    assert held[0] > 0 and world.services.intake.pixels.held == 0


async def test_what_fails_in_the_midst_holds_nothing(make_detecting):
    world = make_detecting()
    ask = world.services.plugins.ask

    async def failing(*given, **more):
        if world.services.plugins.runs:
            raise PluginError("plugin broken: its worker ended")
        return await ask(*given, **more)

    world.services.plugins.ask = failing
    assert (await post(world, body(noise(), noise()))).status_code == 502
    assert world.services.intake.pixels.held == 0


async def test_an_answer_that_others_leave_no_room_for_is_refused_for_now(make_detecting):
    world = make_detecting(max_pixels_per_request=16 * MAP, max_input_pixels=MAP, max_body_bytes=64 * 1024)
    world.services.intake = intake = Intake(world.services.settings, world.services.queue, patience=0.01)
    assert await intake.pixels.take(intake.pixels.most - 3 * MAP)
    response = await post(world, body(*[noise()] * 2, module="invert"))
    assert response.status_code == 429
    assert intake.pixels.held == intake.pixels.most - 3 * MAP


async def test_poses_of_all_pictures_are_told_in_their_order(make_detecting):
    world = make_detecting()
    world.services.plugins.info = {"poses": [{"people": ["ü"]}, {"people": []}]}
    response = await post(world, body(noise(), noise(), module="openpose"))
    assert response.headers["content-type"] == "application/json"
    assert response.json()["poses"] == [{"people": ["ü"]}, {"people": []}] * 2


async def _watched(world, given, held, *, leaves=False, sees=lambda: None):
    """The answer; `held` gets what is held whenever a part of it is sent, which `sees` is told of. `leaves`:
    the client, then."""
    app = create_app(world.services)

    async def watching(scope, receive, send):
        async def seen(message):
            if message["type"] == "http.response.body" and message.get("body"):
                held.append(world.services.intake.pixels.held)
                sees()
                if leaves:
                    raise OSError("gone")
            await send(message)

        await app(scope, receive, seen)

    transport = httpx.ASGITransport(app=watching)
    user = world.client().auth
    async with httpx.AsyncClient(transport=transport, base_url="http://sd", auth=user) as client:
        return await client.post(DETECT, json=given)
