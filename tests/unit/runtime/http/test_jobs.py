"""The job interface of one replica: handing in, watching, taking back and fetching, and each id made once."""

import asyncio
import base64
import io
import json

import httpx
import pytest
from PIL import Image

from sd_runtime.app import create_app
from sd_runtime.errors import GenerationError
from sd_runtime.serving import drain

JOBS = "/v1/jobs"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7, "sampler_name": "Euler"}
ASKED = {"kind": "txt2img", "parameters": SMALL}


def picture():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


PICTURE = picture()


@pytest.fixture
def world(slow_world):
    """Ready; the test finishes its pictures."""
    return slow_world


@pytest.fixture
async def client(world):
    async with world.client() as client:
        yield client


async def hand_in(client, world, until, asked=ASKED, **request):
    """A job whose pictures are in the engine."""
    before = len(world.engine.tickets)
    response = await client.post(JOBS, json=asked, **request)
    assert response.status_code == 202, response.text
    await until(lambda: len(world.engine.tickets) > before)
    return response.json()


async def ended(client, id):
    for _ in range(2000):
        told = (await client.get(f"{JOBS}/{id}")).json()
        if told["state"] in ("done", "failed", "cancelled"):
            return told
        await asyncio.sleep(0.001)
    raise AssertionError("the job did not end")


async def test_a_job_is_accepted_with_its_place_and_the_way_to_it(client, world, until):
    response = await client.post(JOBS, json=ASKED)
    told = response.json()
    assert (response.status_code, response.headers["location"]) == (202, f"{JOBS}/{told['id']}")
    assert told | {"id": "", "created_at": ""} == {
        "id": "",
        "kind": "txt2img",
        "state": "queued",
        "progress": 0.0,
        "created_at": "",
        "position": 1,
        "eta_seconds": None,
        "step": 0,
        "steps": 4,
        "error": None,
    }


async def test_a_job_that_has_ended_answers_as_a1111s_route_would(client, world, until):
    job = await hand_in(client, world, until)
    world.engine.tickets[0].step(2)
    told = (await client.get(f"{JOBS}/{job['id']}")).json()
    assert (told["state"], told["step"], told["steps"], told["progress"]) == ("running", 2, 4, 0.5)
    world.engine.tickets[0].finish()
    told = await ended(client, job["id"])
    assert (told["state"], told["progress"], told["position"], told["eta_seconds"]) == ("done", 1, 0, 0)
    result = (await client.get(f"{JOBS}/{job['id']}/result")).json()
    assert set(result) == {"images", "parameters", "info"}
    assert json.loads(result["info"])["seed"] == 7
    with Image.open(io.BytesIO(base64.b64decode(result["images"][0]))) as image:
        assert image.size == (64, 64)
    assert (await client.get(f"{JOBS}/{job['id']}/result")).json() == result


@pytest.mark.parametrize(
    ("kind", "parameters", "keys"),
    [
        ("img2img", SMALL | {"init_images": [PICTURE]}, {"images", "parameters", "info"}),
        ("extras", {"image": PICTURE, "upscaler_1": "Lanczos"}, {"image", "html_info"}),
    ],
)
async def test_other_kinds_take_and_answer_what_their_routes_do(client, world, until, kind, parameters, keys):
    job = await hand_in(client, world, until, {"kind": kind, "parameters": parameters})
    world.engine.tickets[0].finish()
    assert (await ended(client, job["id"]))["state"] == "done"
    assert set((await client.get(f"{JOBS}/{job['id']}/result")).json()) == keys


async def test_a_result_is_refused_before_the_job_has_ended(client, world, until):
    job = await hand_in(client, world, until)
    refused = await client.get(f"{JOBS}/{job['id']}/result")
    assert (refused.status_code, refused.json()["error"]) == (409, "NotFinished")
    assert set(refused.json()) == {"error", "detail", "body", "errors"}


async def test_a_failed_job_tells_why_and_its_result_is_the_error(client, world, until):
    job = await hand_in(client, world, until)
    world.engine.tickets[0].fail(GenerationError("the latents are not finite"))
    told = await ended(client, job["id"])
    assert (told["state"], told["error"]) == (
        "failed",
        {"error": "GenerationFailed", "detail": "the latents are not finite"},
    )
    refused = await client.get(f"{JOBS}/{job['id']}/result")
    assert (refused.status_code, refused.json()["detail"]) == (500, "the latents are not finite")


@pytest.mark.parametrize(("method", "way"), [("POST", "/cancel"), ("DELETE", "")])
async def test_a_job_can_be_taken_back_alone_and_more_than_once(client, world, until, method, way):
    other = await hand_in(client, world, until)
    job = await hand_in(client, world, until)
    for _ in range(2):
        response = await client.request(method, f"{JOBS}/{job['id']}{way}")
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert [ticket.taken_back for ticket in world.engine.tickets] == [False, True]
    assert (await client.get(f"{JOBS}/{other['id']}")).json()["state"] == "queued"
    refused = await client.get(f"{JOBS}/{job['id']}/result")
    assert (refused.status_code, refused.json()["error"]) == (409, "Cancelled")


async def test_a_job_that_was_taken_back_tells_how_far_it_came(client, world, until):
    job = await hand_in(client, world, until)
    world.engine.tickets[0].step(1)
    at = (await client.get(f"{JOBS}/{job['id']}")).json()["progress"]
    told = (await client.delete(f"{JOBS}/{job['id']}")).json()
    assert (told["state"], told["progress"]) == ("cancelled", at)
    assert 0 < at < 1


async def test_a_job_that_has_ended_stays_as_it_is_when_it_is_taken_back(client, world, until):
    job = await hand_in(client, world, until)
    world.engine.tickets[0].finish()
    await ended(client, job["id"])
    assert (await client.delete(f"{JOBS}/{job['id']}")).json()["state"] == "done"
    assert (await client.get(f"{JOBS}/{job['id']}/result")).status_code == 200


async def test_a_job_goes_on_when_the_client_that_handed_it_in_goes_away(client, world, until):
    async with world.client() as other:
        job = await hand_in(other, world, until)
    world.engine.tickets[0].finish()
    assert (await ended(client, job["id"]))["state"] == "done"


async def test_an_interrupted_job_has_the_pictures_that_there_are(client, world, until):
    job = await hand_in(client, world, until)
    world.engine.tickets[0].step(1)
    await client.post("/sdapi/v1/interrupt")
    assert (await ended(client, job["id"]))["state"] == "done"
    assert len((await client.get(f"{JOBS}/{job['id']}/result")).json()["images"]) == 1


async def test_a_preview_is_a_small_png_and_nothing_before_the_first_step_and_after_the_end(
    client, world, until
):
    job = await hand_in(client, world, until)
    assert (await client.get(f"{JOBS}/{job['id']}/preview")).status_code == 204
    world.engine.tickets[0].step(1)
    response = await client.get(f"{JOBS}/{job['id']}/preview")
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.getpixel((0, 0)) == (77, 77, 77)
    world.engine.tickets[0].finish()
    await ended(client, job["id"])
    assert (await client.get(f"{JOBS}/{job['id']}/preview")).status_code == 204


async def test_nobody_is_told_the_ids_of_others_jobs(client, world, until):
    await hand_in(client, world, until)
    assert (await client.get(JOBS)).status_code == 405


@pytest.mark.parametrize("way", ["", "/result", "/preview", "/events", "/cancel"])
@pytest.mark.parametrize("id", ["0" * 32, "0a000307." + "0" * 32, "nothing", "%2e%2e"])
async def test_an_unknown_job_is_not_found(client, way, id):
    method = "POST" if way == "/cancel" else "GET"
    response = await client.request(method, f"{JOBS}/{id}{way}")
    assert response.status_code == 404
    assert set(response.json()) == {"error", "detail", "body", "errors"}


@pytest.mark.parametrize("by", ["header", "body", "both"])
async def test_the_same_request_with_the_same_id_is_one_job(client, world, until, by):
    asked = ASKED | ({} if by == "header" else {"id": "mine"})
    headers = {} if by == "body" else {"Idempotency-Key": "mine"}
    job = await hand_in(client, world, until, asked, headers=headers)
    again = await client.post(JOBS, json=asked, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, job["id"])
    world.engine.tickets[0].finish()
    await ended(client, job["id"])
    again = await client.post(JOBS, json=asked, headers=headers)
    assert (again.status_code, again.json()["state"]) == (200, "done")
    assert len(world.engine.tickets) == 1


async def test_requests_with_one_id_at_the_same_time_are_one_job(client, world, until):
    asked = ASKED | {"id": "mine"}
    answers = await asyncio.gather(*(client.post(JOBS, json=asked) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    await until(lambda: world.engine.tickets)
    assert len(world.engine.tickets) == 1


async def test_another_request_with_the_same_id_is_refused(client, world, until):
    job = await hand_in(client, world, until, ASKED | {"id": "mine"})
    other = {"kind": "txt2img", "parameters": SMALL | {"prompt": "a dog"}, "id": "mine"}
    refused = await client.post(JOBS, json=other)
    assert (refused.status_code, refused.json()["error"]) == (409, "Conflict")
    assert job["id"] in refused.json()["detail"]


async def test_an_id_whose_request_was_refused_is_free(client, world, until):
    bad = {"kind": "txt2img", "parameters": SMALL | {"steps": 100_000}, "id": "mine"}
    assert (await client.post(JOBS, json=bad)).status_code == 422
    await hand_in(client, world, until, ASKED | {"id": "mine"})


@pytest.mark.parametrize(
    ("asked", "headers", "told"),
    [
        ({}, {}, ["kind", "required"]),
        ({"kind": "video"}, {}, ["kind", "'video'", "'txt2img'"]),
        (ASKED | {"id": ""}, {}, ["id", "at least 1"]),
        (ASKED | {"id": "a b"}, {}, ["id", "'a b'"]),
        (ASKED | {"id": "mine"}, {"Idempotency-Key": "yours"}, ["Idempotency-Key", "'yours'", "'mine'"]),
        (ASKED | {"webhook": "http://x"}, {}, ["webhook", "not permitted"]),
        (ASKED | {"parameters": []}, {}, ["parameters", "dictionary"]),
        ({"kind": "txt2img", "parameters": {"steps": "many"}}, {}, ["parameters.steps", "'many'"]),
        ({"kind": "txt2img", "parameters": {"width": 63}}, {}, ["width", "63"]),
        ({"kind": "extras", "parameters": {"image": "%"}}, {}, ["image"]),
    ],
)
async def test_a_bad_request_is_refused_with_field_value_and_what_is_allowed(client, asked, headers, told):
    response = await client.post(JOBS, json=asked, headers=headers)
    assert response.status_code == 422
    assert set(response.json()) == {"error", "detail", "body", "errors"}
    for part in told:
        assert part in response.json()["detail"]


@pytest.mark.parametrize("given", [{}, {"init_images": []}])
async def test_a_picture_that_is_missing_is_refused_as_at_a1111s_door(client, given):
    job = await client.post(JOBS, json={"kind": "img2img", "parameters": SMALL | given})
    at_a1111s = await client.post("/sdapi/v1/img2img", json=SMALL | given)
    assert (job.status_code, job.json()) == (404, at_a1111s.json())
    assert job.json()["detail"].startswith("Init image not found")


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 950, 990, 100_000])
async def test_however_deeply_parameters_are_nested_they_are_refused_or_taken(client, depth):
    nested = b"[" * depth + b"]" * depth
    body = b'{"kind": "txt2img", "parameters": {"unknown": ' + nested + b"}}"
    response = await client.post(JOBS, content=body)
    assert response.status_code in (202, 422), response.text


async def test_one_job_more_than_the_queue_takes_is_refused_with_the_time_to_wait(switching_world, until):
    async with switching_world.client() as client:
        for _ in range(3):
            await hand_in(client, switching_world, until)
        refused = await client.post(JOBS, json=ASKED)
    assert (refused.status_code, refused.json()["error"]) == (429, "QueueFull")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_nothing_is_accepted_before_the_checkpoint_is_there(make_world, loading_engine):
    world = make_world(loading_engine)
    async with world.client() as client:
        refused = await client.post(JOBS, json=ASKED)
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)


async def test_strangers_are_not_told_of_jobs(world):
    async with world.client(user=None) as client:
        assert (await client.get(JOBS)).status_code == 401
        assert (await client.post(JOBS, json=ASKED)).status_code == 401


async def test_a_process_that_ends_finishes_its_jobs_and_waits_for_those_who_fetch_them(client, world, until):
    services = world.services
    job = await hand_in(client, world, until)
    ending = asyncio.create_task(
        drain(state=services.state, queue=services.queue, ledger=services.ledger, seconds=60)
    )
    await asyncio.sleep(0)
    refused = await client.post(JOBS, json=ASKED)
    assert (refused.status_code, refused.json()["error"]) == (503, "Draining")
    world.engine.tickets[0].finish()
    await ended(client, job["id"])
    assert not ending.done()
    assert (await client.get(f"{JOBS}/{job['id']}/result")).status_code == 200
    await asyncio.wait_for(ending, 10)


async def test_a_job_that_was_forgotten_is_not_found(make_world, manual_engine, until):
    world = make_world(manual_engine, job_keep_bytes=1)
    await world.load()
    async with world.client() as client:
        first, second = [await hand_in(client, world, until) for _ in range(2)]
        for job, ticket in zip((first, second), world.engine.tickets, strict=True):
            ticket.finish()
            await ended(client, job["id"])
        gone = await client.get(f"{JOBS}/{first['id']}")
        assert (gone.status_code, "900 seconds" in gone.json()["detail"]) == (404, True)
        assert (await client.get(f"{JOBS}/{second['id']}/result")).status_code == 200


def events_of(text):
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in (block.split("\n") for block in text.strip().split("\n\n"))
    ]


class Overheard:
    """An application, and what it has sent so far."""

    def __init__(self, app):
        self.app = app
        self.sent = b""

    async def __call__(self, scope, receive, send):
        async def note(message):
            self.sent += message.get("body", b"")
            await send(message)

        await self.app(scope, receive, note)


async def test_events_tell_of_a_job_to_its_end(client, world, until):
    job = await hand_in(client, world, until)
    app = Overheard(create_app(world.services))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sd", auth=client.auth) as watcher:
        watching = asyncio.create_task(watcher.get(f"{JOBS}/{job['id']}/events"))
        for number, step in enumerate((1, 3), 1):
            await until(lambda: app.sent.count(b"event: ") == number)  # noqa: B023 - awaited at once
            world.engine.tickets[0].step(step)
        await until(lambda: app.sent.count(b"event: ") == 3)
        world.engine.tickets[0].finish()
        response = await watching
    assert response.headers["content-type"].startswith("text/event-stream")
    told = [(name, status["state"], status["step"]) for name, status in events_of(response.text)]
    assert told == [
        ("state", "queued", 0),
        ("state", "running", 1),
        ("progress", "running", 3),
        ("end", "done", 0),
    ]


async def test_events_of_a_job_that_has_ended_are_its_end(client, world, until):
    job = await hand_in(client, world, until)
    world.engine.tickets[0].finish()
    await ended(client, job["id"])
    response = await client.get(f"{JOBS}/{job['id']}/events")
    assert [(name, status["state"]) for name, status in events_of(response.text)] == [("end", "done")]
