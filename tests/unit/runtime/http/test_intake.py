"""What all requests together take while they come in and wait: bodies, and the pictures in them."""

import asyncio
import base64
import io
import threading

import httpx
import pytest
from PIL import Image
from starlette.exceptions import HTTPException

from sd_runtime import container
from sd_runtime.a1111.schemas import Img2ImgRequest
from sd_runtime.a1111.schemas.body import MAX_TEXT
from sd_runtime.app import create_app
from sd_runtime.guards.body_limit import SMALL_BYTES, BodyLimit
from sd_runtime.guards.budget import Budget
from sd_runtime.routes import generation, intake
from sd_runtime.routes.intake import Intake
from sd_runtime.routes.reading import MOST_MARKS

IMG2IMG, SINGLE = "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}


def picture(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


# What is held, in general.


async def test_what_is_given_back_goes_to_those_who_wait_in_order():
    budget = Budget(10, patience=5)
    assert await budget.take(8)
    large = asyncio.create_task(budget.take(5))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.take(1))
    await asyncio.sleep(0)
    assert not small.done()  # else large ones would never get their turn
    budget.give_back(8)
    assert await large and await small
    assert budget.held == 6


async def test_who_waits_too_long_gets_nothing_and_those_behind_get_their_turn():
    budget = Budget(10, patience=0.02)
    assert await budget.take(8)
    large = asyncio.create_task(budget.take(5))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.take(2))
    assert (await large, await small, budget.held) == (False, True, 10)


async def test_who_leaves_while_waiting_holds_nothing():
    budget = Budget(10, patience=5)
    assert await budget.take(8)
    for given_back in (False, True):
        waiting = asyncio.create_task(budget.take(5))
        await asyncio.sleep(0)
        if given_back:
            budget.give_back(8)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert budget.held == 0


async def test_more_than_there_is_at_all_is_refused_at_once():
    assert not await asyncio.wait_for(Budget(10, patience=60).take(11), 1)


# Bodies.


async def test_the_bodies_of_all_requests_are_bounded_but_small_ones_always_come_in():
    together = Budget(2 * SMALL_BYTES, patience=0.01)
    told, reading, going_on = [], asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        try:
            while (await receive())["more_body"]:
                pass
        except HTTPException as error:
            told.append((error.status_code, (error.headers or {}).get("Retry-After")))
            return
        reading.set()
        await going_on.wait()
        told.append("read")

    guarded = BodyLimit(app, limit=10 * SMALL_BYTES, seconds=5, together=together)

    def request(size):
        half = {"type": "http.request", "body": b"x" * (size // 2), "more_body": True}
        messages = [half, half | {"more_body": False}]

        async def receive():
            return messages.pop(0)

        return asyncio.create_task(guarded({"type": "http", "headers": []}, receive, None))

    large = request(2 * SMALL_BYTES)
    await reading.wait()
    await request(2 * SMALL_BYTES)
    assert told == [(429, "5")]
    small = request(SMALL_BYTES)
    going_on.set()
    await asyncio.gather(large, small)
    await request(2 * SMALL_BYTES)
    assert (told[1:], together.held) == (["read"] * 3, 0)


@pytest.mark.parametrize("item", [b"[]", b"{}", b"1"])
async def test_a_body_of_too_much_structure_is_refused_before_it_is_read(world, item):
    content = b'{"init_images":[' + b",".join([item] * (MOST_MARKS + 1)) + b"]}"
    async with world.client() as client:
        response = await client.post(IMG2IMG, content=content)
    assert response.status_code == 422
    assert f"body: more than {MOST_MARKS} braces, brackets and commas" in response.json()["detail"]


async def test_commas_in_as_much_text_as_a_request_may_have_are_no_structure(world):
    texts = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")
    commas = dict.fromkeys(texts, "," * MAX_TEXT)
    infotext = {"infotext": ",\n" * (MAX_TEXT // 2)}
    async with world.client() as client:
        answer = await client.post("/sdapi/v1/txt2img", json=SMALL | commas | infotext | {"enable_hr": True})
    assert answer.status_code == 200, answer.text


async def test_large_bodies_are_read_one_at_a_time_and_hold_nobody_else_up(world):
    body = {"image": picture(8, 8), "note": "x" * 100_000, "upscaler_1": "None"}
    async with world.client() as client:
        async with world.services.intake.reading:
            large = asyncio.create_task(client.post(SINGLE, json=body))
            assert (await client.get("/internal/ping")).status_code == 200
            assert (await client.post("/sdapi/v1/txt2img", json=SMALL)).status_code == 200
            assert not large.done()
        assert (await large).status_code == 200


# Pictures.


@pytest.fixture
async def crowded(make_world, manual_engine):
    """A server that holds few pixels, and does not wait for them to become fewer."""
    world = make_world(manual_engine)
    await world.load()
    intake = world.services.intake = Intake(world.services.settings, world.services.queue, patience=0.01)
    intake.pixels = Budget(100 * 100, patience=0.01)
    return world


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (IMG2IMG, {"init_images": [picture(90, 90)]}),
        (IMG2IMG, {"init_images": [picture(60, 60)], "mask": picture(60, 60)}),
        (SINGLE, {"image": picture(90, 90), "upscaler_1": "Lanczos"}),
        ("/sdapi/v1/txt2img", {"enable_hr": True, "firstpass_image": picture(90, 90)}),
    ],
)
async def test_pictures_are_held_until_their_job_has_ended(crowded, until, path, body):
    pixels = crowded.services.intake.pixels
    async with crowded.client() as client:
        first = asyncio.create_task(client.post(path, json=SMALL | body))
        await until(lambda: crowded.engine.tickets)
        refused = await client.post(path, json=SMALL | body)
        assert (refused.status_code, refused.json()["error"]) == (429, "QueueFull")
        assert int(refused.headers["retry-after"]) > 0
        assert (await client.get("/internal/ping")).status_code == 200
        crowded.engine.tickets[0].finish()
        assert (await first).status_code == 200
        await until(lambda: pixels.held == 0)
        again = asyncio.create_task(client.post(path, json=SMALL | body))
        await until(lambda: len(crowded.engine.tickets) == 2)
        crowded.engine.tickets[1].finish()
        assert (await again).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"init_images": [picture(60, 60), "no picture"]},
        {"init_images": [picture(60, 60)], "mask": "no picture"},
        {"init_images": [picture(60, 60)], "sampler_name": "no sampler"},
    ],
)
async def test_a_refused_request_holds_nothing(crowded, body):
    async with crowded.client() as client:
        assert (await client.post(IMG2IMG, json=SMALL | body)).status_code == 422
    assert crowded.services.intake.pixels.held == 0


async def test_pictures_are_not_kept_as_texts_beside_their_pixels(slow_world):
    text = picture(8, 8)
    for kept in (False, True):
        body = Img2ImgRequest(**SMALL, init_images=[text], mask=text, include_init_images=kept)
        request = (await generation.start(slow_world.services, "img2img", body)).plan.request
        assert (text in request.init_images, request.mask == text, bool(request.mask)) == (kept, kept, True)


async def test_one_picture_has_a_limit_of_its_own(make_world, prompt_engine):
    world = make_world(prompt_engine, max_input_pixels=64 * 64)
    await world.load()
    async with world.client() as client:
        fits = await client.post(IMG2IMG, json=SMALL | {"init_images": [picture(64, 64)] * 2})
        refused = await client.post(IMG2IMG, json=SMALL | {"init_images": [picture(64, 65)]})
    assert (fits.status_code, refused.status_code) == (200, 422)
    assert "64x65 pixels are more than 4096" in refused.json()["detail"]


async def test_whatever_one_request_may_bring_alone_fits(make_world, prompt_engine):
    world = make_world(prompt_engine, max_pixels_in_flight=4096)
    settings, intake = world.services.settings, world.services.intake
    assert intake.pixels.most >= settings.max_pixels_per_request + settings.max_input_pixels


async def test_a_base64_text_of_nothing_but_blanks_and_letters_takes_no_more_than_its_size(world):
    import tracemalloc

    text = "a " * 2_000_000
    transport = httpx.ASGITransport(app=create_app(world.services))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sd", auth=("alice", "s3cret:with colon")
    ) as client:
        content = f'{{"image": "{text}"}}'.encode()
        tracemalloc.start()
        response = await client.post("/sdapi/v1/png-info", content=content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert response.status_code == 422
    assert peak < 10 * len(text)


async def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(world):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    many = base64.b64encode(data[:-2] + last * 100 + data[-2:]).decode()
    async with world.client() as client:
        fits = await client.post(IMG2IMG, json=SMALL | {"init_images": [base64.b64encode(data).decode()]})
        refused = await client.post(IMG2IMG, json=SMALL | {"init_images": [many]})
    assert (fits.status_code, refused.status_code) == (200, 422)
    assert "at most 64 scans" in refused.json()["detail"]


async def test_after_many_pixels_the_memory_that_is_free_is_given_back_once(
    make_world, prompt_engine, monkeypatch
):
    told = []
    monkeypatch.setattr(intake, "_TIDY_SECONDS", 0.01)
    monkeypatch.setattr(intake, "_MANY_PIXELS", 64 * 64)
    monkeypatch.setattr(container, "give_back_free", lambda: told.append(threading.current_thread().name))
    world = make_world(prompt_engine)
    await world.load()
    async with world.client() as client:
        small = await client.post(SINGLE, json={"image": picture(8, 8), "upscaler_1": "None"})
        await asyncio.sleep(0.05)
        assert (small.status_code, told) == (200, [])
        large = {"image": picture(64, 64), "upscaler_1": "None"}
        await asyncio.gather(*[client.post(SINGLE, json=large) for _ in range(3)])
    await asyncio.sleep(0.05)
    assert told == ["tidy"]


def test_memory_that_is_free_can_be_given_back():
    blocks = [bytearray(64 * 1024) for _ in range(1000)]
    del blocks[:-1]  # the last one keeps those before it from going by themselves
    before = container.memory()["used"]
    container.give_back_free()
    assert container.memory()["used"] <= before
