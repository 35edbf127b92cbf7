"""txt2img, interrupt and skip over HTTP."""

import asyncio
import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from sd_runtime import __version__
from sd_runtime.a1111 import infotext
from sd_runtime.app import create_app
from sd_runtime.errors import GenerationError, UnsupportedError

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}


async def begun(world, count=1):
    """Waits until this many pictures are with the engine."""
    for _ in range(1000):
        if len(world.engine.tickets) >= count:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("no picture was handed over")


async def test_a_minimal_body_is_served_with_the_defaults_of_a1111(world):
    async with world.client() as client:
        response = await client.post(TXT2IMG, json={})
    assert response.status_code == 200
    (ticket,) = world.engine.tickets
    task = ticket.task
    guided = task.guided
    assert (task.width, task.height, guided.steps, guided.cfg_scale) == (512, 512, 50, 7.0)
    assert (guided.sampler, guided.scheduler, guided.text.clip_skip) == ("Euler", "automatic", 1)


async def test_the_answer_has_pictures_parameters_and_info(world):
    async with world.client() as client:
        answer = (await client.post(TXT2IMG, json=SMALL | {"batch_size": 2, "n_iter": 2})).json()
    assert set(answer) == {"images", "parameters", "info"}
    info = json.loads(answer["info"])
    assert (info["seed"], info["all_seeds"]) == (7, [7, 8, 9, 10])
    assert info["all_prompts"] == ["a cat"] * 4
    assert len(info["infotexts"]) == len(info["all_subseeds"]) == len(answer["images"]) == 4
    assert answer["parameters"]["n_iter"] == 2
    for number, encoded in enumerate(answer["images"]):
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))) as image:
            assert image.size == (64, 64)
            assert set(np.asarray(image).flatten()) == {7 + number}
            assert image.info["parameters"] == info["infotexts"][number]


async def test_the_infotext_tells_the_making(world):
    body = SMALL | {"negative_prompt": "blurry", "sampler_name": "DPM++ 2M Karras"}
    body["override_settings"] = {"CLIP_stop_at_last_layers": 2}
    async with world.client() as client:
        info = json.loads((await client.post(TXT2IMG, json=body)).json()["info"])
    assert info["infotexts"] == [
        "a cat\nNegative prompt: blurry\n"
        "Steps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 7, Size: 64x64, "
        "Model hash: ab12ab12ab, Model: shapes, Clip skip: 2, RNG: CPU, "
        f"Version: sd-operator {__version__}"
    ]
    assert infotext.read(info["infotexts"][0])["Size-1"] == "64"


async def test_an_override_counts_for_its_request_only_also_while_others_are_made(slow_world):
    overridden = SMALL | {"override_settings": {"CLIP_stop_at_last_layers": 2}}
    world = slow_world
    async with world.client() as client:
        first = asyncio.create_task(client.post(TXT2IMG, json=overridden))
        await begun(world)
        second = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await begun(world, 2)
        for ticket in reversed(world.engine.tickets):
            ticket.finish()
        told = [json.loads((await each).json()["info"])["clip_skip"] for each in (first, second)]
    assert told == [2, 1]
    assert [ticket.task.guided.text.clip_skip for ticket in world.engine.tickets] == [2, 1]


async def test_a_picture_is_saved_as_the_client_gets_it(world):
    async with world.client() as client:
        answer = (await client.post(TXT2IMG, json=SMALL)).json()
    (path,) = world.saved()
    assert path.name == "00000-7.png"
    assert path.parent.parent == world.root / "outputs" / "txt2img-images"
    assert path.read_bytes() == base64.b64decode(answer["images"][0])


async def test_pictures_are_not_saved_when_the_request_says_so(world):
    async with world.client() as client:
        await client.post(TXT2IMG, json=SMALL | {"do_not_save_samples": True})
        await client.post(TXT2IMG, json=SMALL | {"override_settings": {"samples_save": False}})
    assert world.saved() == []


async def test_pictures_are_not_sent_when_the_request_says_so(world):
    async with world.client() as client:
        answer = (await client.post(TXT2IMG, json=SMALL | {"send_images": False})).json()
    assert answer["images"] == []
    assert len(json.loads(answer["info"])["infotexts"]) == 1
    assert len(world.saved()) == 1


async def test_a_picture_that_cannot_be_saved_is_still_sent_and_the_loss_is_logged_and_counted(world, caplog):
    (world.root / "outputs").write_text("in the way of the folder")
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL)
    assert len(response.json()["images"]) == 1
    assert "not saved" in caplog.text
    assert world.services.metrics.registry.get_sample_value("sd_images_not_saved_total") == 1


async def test_a_picture_that_can_be_neither_saved_nor_sent_is_an_error(world):
    (world.root / "outputs").write_text("in the way of the folder")
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL | {"send_images": False})
    assert response.status_code == 500
    assert "could not be saved" in response.json()["detail"]


async def test_one_request_more_than_the_queue_takes_is_told_to_come_again(make_world, manual_engine):
    world = make_world(manual_engine, queue_limit=1)
    await world.load()
    async with world.client() as client:
        first = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await begun(world)
        second = await client.post(TXT2IMG, json=SMALL)
        manual_engine.tickets[0].finish()
        assert (await first).status_code == 200
    assert second.status_code == 429
    assert int(second.headers["retry-after"]) > 0
    assert second.json()["error"] == "QueueFull"


async def test_before_the_checkpoint_is_loaded_the_client_is_told_to_come_again(make_world, prompt_engine):
    world = make_world(prompt_engine)
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "being loaded" in response.json()["detail"]


@pytest.mark.parametrize("obstacle", ["loading", "draining"])
async def test_while_no_picture_can_be_made_every_request_is_told_to_come_again_whatever_is_in_it(
    make_world, prompt_engine, obstacle
):
    world = make_world(prompt_engine)
    if obstacle == "draining":
        await world.load()
        world.services.state.drain()
    async with world.client() as client:
        response = await client.post(TXT2IMG, json={"steps": -1})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert set(response.json()) == {"error", "detail", "body", "errors"}


async def test_after_a_failed_load_the_reason_is_told(make_world, unloadable_engine):
    world = make_world(unloadable_engine)
    await world.load()
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL)
    assert response.status_code == 503
    assert "not a safetensors file" in response.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (GenerationError("the network returned NaN"), 500, "the network returned NaN"),
        (UnsupportedError("clip_skip", 9, "1 to 2"), 422, "CLIP_stop_at_last_layers: 9"),
        (ZeroDivisionError("secret"), 500, "in the log under job"),
    ],
)
async def test_a_failed_picture_is_an_error_with_a_sentence(make_world, failing_engine, error, status, told):
    world = make_world(failing_engine(error))
    await world.load()
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL)
    assert response.status_code == status
    assert told in response.json()["detail"]
    assert "secret" not in response.text


async def test_interrupt_makes_the_oldest_request_answer_with_what_is_finished(slow_world):
    async with slow_world.client() as client:
        oldest = asyncio.create_task(client.post(TXT2IMG, json=SMALL | {"n_iter": 3}))
        await begun(slow_world)
        newer = asyncio.create_task(client.post(TXT2IMG, json=SMALL | {"seed": 50}))
        await begun(slow_world, 2)
        slow_world.engine.tickets[0].finish()
        await begun(slow_world, 3)
        answer = await client.post("/sdapi/v1/interrupt")
        info = json.loads((await oldest).json()["info"])
        assert not newer.done()
        slow_world.engine.tickets[1].finish()
        assert len((await newer).json()["images"]) == 1
    assert (answer.status_code, answer.json()) == (200, {})
    assert len(info["infotexts"]) == 1
    assert (info["seed"], info["all_seeds"], info["all_prompts"]) == (7, [7], ["a cat"])


async def test_interrupt_keeps_a_picture_as_far_as_it_has_come(slow_world):
    async with slow_world.client() as client:
        request = asyncio.create_task(client.post(TXT2IMG, json=SMALL | {"n_iter": 2}))
        await begun(slow_world)
        slow_world.engine.tickets[0].step(2)
        await client.post("/sdapi/v1/interrupt")
        answer = (await request).json()
    assert len(answer["images"]) == 1
    assert json.loads(answer["info"])["all_seeds"] == [7]
    assert len(slow_world.engine.tickets) == 1


async def test_skip_keeps_what_there_is_of_the_running_iteration_and_goes_on(slow_world):
    async with slow_world.client() as client:
        request = asyncio.create_task(client.post(TXT2IMG, json=SMALL | {"n_iter": 2}))
        await begun(slow_world)
        slow_world.engine.tickets[0].step(2)
        await client.post("/sdapi/v1/skip")
        await begun(slow_world, 2)
        slow_world.engine.tickets[1].finish()
        answer = (await request).json()
    assert json.loads(answer["info"])["all_seeds"] == [7, 8]


async def test_skip_leaves_out_an_iteration_that_has_not_begun(slow_world):
    async with slow_world.client() as client:
        request = asyncio.create_task(client.post(TXT2IMG, json=SMALL | {"n_iter": 2}))
        await begun(slow_world)
        answer = await client.post("/sdapi/v1/skip")
        await begun(slow_world, 2)
        slow_world.engine.tickets[1].finish()
        info = json.loads((await request).json()["info"])
    assert (answer.status_code, answer.json()) == (200, None)
    assert ["Seed: 8" in text for text in info["infotexts"]] == [True]
    assert (info["seed"], info["all_seeds"]) == (8, [8])
    assert len(info["all_subseeds"]) == len(info["all_prompts"]) == len(info["all_negative_prompts"]) == 1
    assert info["subseed"] == info["all_subseeds"][0]


async def test_an_interrupted_request_without_any_picture_lists_none(slow_world):
    async with slow_world.client() as client:
        request = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await begun(slow_world)
        await client.post("/sdapi/v1/interrupt")
        answer = (await request).json()
    info = json.loads(answer["info"])
    assert answer["images"] == info["all_seeds"] == info["infotexts"] == info["all_prompts"] == []
    assert info["seed"] == 7


@pytest.mark.parametrize("route", ["interrupt", "skip"])
async def test_interrupt_and_skip_with_nothing_to_end_are_fine(world, route):
    async with world.client() as client:
        assert (await client.post(f"/sdapi/v1/{route}")).status_code == 200


async def test_a_client_that_goes_away_cancels_its_job(slow_world):
    gone = asyncio.Event()
    sent = []
    body = json.dumps(SMALL).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop(0)
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    credentials = base64.b64encode(b"alice:s3cret:with colon")
    scope = {
        "type": "http",
        "method": "POST",
        "path": TXT2IMG,
        "raw_path": TXT2IMG.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(b"content-type", b"application/json"), (b"authorization", b"Basic " + credentials)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    request = asyncio.create_task(create_app(slow_world.services)(scope, receive, send))
    await begun(slow_world)
    gone.set()
    await request
    assert slow_world.engine.tickets[0].taken_back
    await slow_world.services.queue.drained(5)
    assert slow_world.services.queue.oldest() is None
    assert sent[0]["status"] == 499
