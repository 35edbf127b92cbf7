"""The page on the users' door: what of it can be reached, by whom, and how it asks the interface."""

import asyncio
import base64
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd_page import following
from sd_page.api import Api, Door, Refused
from sd_runtime.app import create_app

USER = {"authorization": "Basic " + base64.b64encode(b"alice:s3cret:with colon").decode(), "host": "sd"}
TASK = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4}


@pytest.fixture
async def paged(make_world: Callable[..., Any], prompt_engine: Any) -> Any:
    """A server with the page."""
    world = make_world(prompt_engine, page="on")
    await world.load()
    return world


async def test_the_page_is_served_to_who_may_use_the_interface(paged: Any) -> None:
    async with paged.client() as client:
        answer = await client.get("/")
        assert answer.status_code == 200
        assert "gradio_config" in answer.text
    async with paged.client(user=None) as stranger:
        assert (await stranger.get("/")).status_code == 401
        assert (await stranger.post("/gradio_api/queue/join", json={})).status_code == 401


async def test_the_page_names_no_other_host(paged: Any) -> None:
    """Of what a browser fetches: styles, scripts, fonts."""
    async with paged.client() as client:
        text = (await client.get("/")).text + (await client.get("/theme.css")).text
    for marker in ('src="http', "url(http", "url('http", 'url("http', "@import", 'rel="preconnect"'):
        assert marker not in text


async def test_what_gradio_brings_and_the_page_does_not_need_is_not_there(paged: Any) -> None:
    paths = (
        "monitoring",
        "monitoring/summary",
        "gradio_api/info",
        "gradio_api/run/predict",
        "gradio_api/call/x",
        "gradio_api/runs",
        "gradio_api/proxy=http://example.org/",
        "gradio_api/vibe-edit",
        "gradio_api/vibe-code",
        "gradio_api/process_recording",
        "gradio_api/deep_link",
        "gradio_api/openapi.json",
        "gradio_api/component_server",
        "pwa_icon/512",
        "assets/" + "a" * 300,
        "gradio_api/heartbeat/" + "a" * 300,
        "gradio_api/mcp/",
        "login",
        "docs",
    )
    async with paged.client() as client:
        for path in paths:
            for method in ("GET", "POST"):
                answer = await client.request(method, f"/{path}")
                assert answer.status_code == 404, path
                assert answer.json()["error"] == "NotFound", path


async def test_other_origins_are_not_told_that_they_may_read_it(paged: Any) -> None:
    async with paged.client() as client:
        answer = await client.get("/config", headers={"Origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_no_file_of_the_machine_is_served(paged: Any) -> None:
    async with paged.client() as client:
        for path in ("/etc/passwd", "/proc/self/environ", "pyproject.toml", "../../etc/passwd"):
            assert (await client.get(f"/gradio_api/file={path}")).status_code in (403, 404), path


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {"meta": {}}, {}], ids=str)
async def test_no_event_reads_a_file_of_the_machine(paged: Any, tmp_path: Any, meta: dict[str, Any]) -> None:
    """Every event of the page is given one in place of each picture."""
    picture = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(picture)
    file = {"path": str(picture), **meta}
    given = {
        "image": file,
        "gallery": [{"image": file, "caption": None}],
        "imageeditor": {"background": file, "layers": [], "composite": file},
    }
    async with paged.client() as client:
        config = (await client.get("/config")).json()
        kinds = {each["id"]: each["type"] for each in config["components"]}
        values = {each["id"]: each["props"].get("value") for each in config["components"]}
        asked = 0
        for event in config["dependencies"]:
            if not any(kinds[each] in given for each in event["inputs"]):
                continue
            data = [given.get(kinds[each], values[each]) for each in event["inputs"]]
            join = {"fn_index": event["id"], "session_hash": f"s{event['id']}", "data": data}
            assert (await client.post("/gradio_api/queue/join", json=join)).status_code == 200
            told = await client.get("/gradio_api/queue/data", params={"session_hash": join["session_hash"]})
            assert "must be uploaded" in told.text, event
            assert "secret.png" not in told.text
            asked += 1
    assert asked > 5


#: What is wrong with an event that is handed in, and how the sentence about it begins.
_NO_EVENTS: list[tuple[dict[str, Any] | bytes, str]] = [
    ({"fn_index": 99_999}, "fn_index: 99999 "),
    ({"fn_index": -1}, "fn_index: -1 "),
    ({"fn_index": None}, "fn_index: null "),
    ({"fn_index": True}, "fn_index: true "),
    ({"data": []}, "data: 0 values "),
    ({"data": ["x"] * 999}, "data: 999 values "),
    ({"data": {}}, "data: {} "),
    ({"session_hash": None}, "session_hash: null "),
    ({"session_hash": "a" * 65}, "session_hash: "),
    ({"session_hash": "../x"}, 'session_hash: "../x" '),
    ({"session_hash": "\ud800"}, 'session_hash: "\\ud800" '),
    ({"trigger_id": "x"}, 'trigger_id: "x" '),
    (b"{", "the body is not JSON"),
    (b"[" * 20_000, "the body is not JSON"),
    (b'{"fn_index": NaN}', "the body is not JSON"),
    (b"\xff", "the body is not JSON"),
    (b"[]", "the body is not a JSON object"),
    (b'{"fn_index": 1e400}', "fn_index: Infinity "),
]


async def test_an_event_that_is_none_is_refused_in_a_sentence(
    paged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with paged.client() as client:
        (event, *_others) = [
            each for each in (await client.get("/config")).json()["dependencies"] if each["backend_fn"]
        ]
        right = {"fn_index": event["id"], "session_hash": "abc", "data": [None] * len(event["inputs"])}
        for wrong, named in _NO_EVENTS:
            body = wrong if isinstance(wrong, bytes) else json.dumps(right | wrong).encode()
            sent = {"content": body, "headers": {"content-type": "application/json"}}
            caplog.clear()
            answer = await client.post("/gradio_api/queue/join", **sent)
            assert (answer.status_code, answer.json()["error"]) == (422, "ValidationError"), wrong
            assert answer.json()["detail"].startswith(named), wrong
            assert not caplog.records


async def test_values_of_no_browser_are_told_in_a_sentence_and_one_line(
    paged: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every event is given values of each JSON type in all places."""
    # What is printed beside the log is asked about, whoever else has a handler.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    async with paged.client() as client:
        events = (await client.get("/config")).json()["dependencies"]
        for event in (each for each in events if each["backend_fn"]):
            for value in (None, 5, "x", ["x"], {"path": 5}, {"index": "x"}):
                session = f"s{event['id']}"
                data = [value] * len(event["inputs"])
                caplog.clear()
                join = {"fn_index": event["id"], "session_hash": session, "data": data, "event_data": value}
                answer = await client.post("/gradio_api/queue/join", json=join)
                assert answer.status_code in (200, 422), answer.text
                if answer.status_code == 200:
                    url = "/gradio_api/queue/data"
                    told = await client.get(url, params={"session_hash": session})
                    assert "process_completed" in told.text
                assert len([each for each in caplog.records if each.levelname == "ERROR"]) <= 1
                assert "Traceback" not in capfd.readouterr().err


async def test_what_is_sent_in_makes_room_first(paged: Any) -> None:
    async with paged.client() as client:
        await client.get("/")
        old = Path(os.environ["GRADIO_TEMP_DIR"], "old.png")
        with old.open("wb") as written:
            written.truncate(600 * 2**20)
        answer = await client.post("/gradio_api/upload", files={"files": ("new.png", b"new")})
        assert answer.status_code == 200
        assert not old.exists()
        assert Path(answer.json()[0]).read_bytes() == b"new"


async def test_the_interfaces_own_routes_come_first(paged: Any) -> None:
    async with paged.client() as client:
        assert (await client.get("/openapi.json")).json()["info"]["title"] == "Stable Diffusion"
        assert (await client.post("/sdapi/v1/server-kill")).status_code == 501
        assert (await client.get("/sdapi/v1/nothing")).status_code == 404


async def test_an_open_page_does_not_keep_the_process_from_ending(paged: Any) -> None:
    async with paged.client() as client:
        paged.services.state.drain()
        async with asyncio.timeout(20):
            answer = await client.get("/gradio_api/heartbeat/abc")
        assert answer.status_code == 200


async def test_a_server_without_the_page_has_nothing_there(world: Any) -> None:
    async with world.client() as client:
        assert (await client.get("/")).status_code == 404


async def test_below_a_prefix_it_is_served_with_and_without_it(
    make_world: Callable[..., Any], prompt_engine: Any
) -> None:
    world = make_world(prompt_engine, page="on", root_path="/sd")
    async with world.client() as client:
        for path in ("/", "/sd/"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert '"root":"http://sd/sd"' in answer.text
        assert (await client.get("/sd/monitoring")).status_code == 404
        # Without the slash, addresses in the page would lead past the prefix.
        answer = await client.get("/sd")
        assert (answer.status_code, answer.headers["location"]) == (307, "/sd/")


# What the page asks of the interface, by its own words.


def interface(world: Any, headers: dict[str, str] = USER) -> Api:
    return Door(create_app(world.services)).api(headers)


async def test_the_page_asks_in_the_visitors_name(world: Any) -> None:
    assert (await interface(world).get("/sdapi/v1/samplers"))[0]["name"]
    with pytest.raises(Refused) as raised:
        await interface(world, {"host": "sd"}).get("/sdapi/v1/samplers")
    assert (raised.value.status, raised.value.reason) == (401, "Unauthorized")


async def test_what_the_interface_refuses_has_its_field(world: Any) -> None:
    for body, field in (
        ({"steps": 0}, "steps"),
        ({"steps": 9999}, "steps"),
        ({"prompt": "<lora:nope:1>"}, "prompt"),
        ({"override_settings": {"sd_vae": "nope"}}, "sd_vae"),
    ):
        with pytest.raises(Refused) as raised:
            await following.hand_in(interface(world), "txt2img", TASK | body)
        assert raised.value.field == field
        assert "Traceback" not in raised.value.detail


async def test_a_job_is_followed_to_its_pictures(
    slow_world: Any, until: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    api = interface(slow_world)
    standing = await following.hand_in(api, "txt2img", TASK)
    seen: list[following.Standing] = []

    async def follow() -> None:
        async for each in following.follow(api, standing.id, look=0.001):
            seen.append(each)

    task = asyncio.create_task(follow())
    await until(lambda: slow_world.engine.tickets)
    (ticket,) = slow_world.engine.tickets
    ticket.step(2)
    await until(lambda: seen and seen[-1].preview)
    assert (seen[-1].state, seen[-1].step, seen[-1].steps) == ("running", 2, 4)
    ticket.finish()
    await task
    assert seen[-1].state == "done"
    assert len((await following.result(api, standing.id))["images"]) == 1


async def test_a_job_that_is_taken_back_ends_as_such(
    slow_world: Any, until: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    api = interface(slow_world)
    standing = await following.hand_in(api, "txt2img", TASK)
    other = await following.hand_in(api, "txt2img", TASK)
    await until(lambda: len(slow_world.engine.tickets) == 2)
    await following.cancel(api, standing.id)
    (last,) = [each async for each in following.follow(api, standing.id, look=0.001)]
    assert last.state == "cancelled"
    assert following.standing_of(await api.get(f"/v1/jobs/{other.id}")).ended is False
    assert [ticket.taken_back for ticket in slow_world.engine.tickets] == [True, False]
    slow_world.engine.tickets[1].finish()
