"""What the page takes and holds at most, whoever sends it: pixels, numbers, streams; and who may show it."""

import asyncio
import base64
import contextlib
import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from sd_page.streams import MOST, MOST_OF_SESSION

#: Pixels that a picture sent in may have; 13000x13000 are ten times as many.
_LARGE = (13_000, 13_000)
_TEXT = b"just a text"


@pytest.fixture
async def paged(make_world: Callable[..., Any], prompt_engine: Any) -> Any:
    """A server with the page."""
    world = make_world(prompt_engine, page="on")
    await world.load()
    return world


class Page:
    """The page as a program meets it: its parts by their element ids."""

    def __init__(self, client: httpx.AsyncClient, config: dict[str, Any]) -> None:
        self.client = client
        self.parts = {each["id"]: each for each in config["components"]}
        self.events = [each for each in config["dependencies"] if each["backend_fn"]]
        self._sessions = 0

    def name(self, id: int) -> str:
        return str(self.parts[id]["props"].get("elem_id")) if id in self.parts else "the page"

    def event(self, name: str, kind: str) -> dict[str, Any]:
        """That of a part."""
        (found,) = [
            each
            for each in self.events
            if any(self.name(id) == name and k == kind for id, k in each["targets"])
        ]
        return found

    async def upload(self, data: bytes) -> dict[str, Any]:
        answer = await self.client.post("/gradio_api/upload", files={"files": ("x.png", data)})
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    async def told(self, event: dict[str, Any], values: dict[str, Any]) -> str:
        """What the stream says of an event; `values` by element id, or by type."""
        self._sessions += 1
        session = f"session{self._sessions}"
        data = []
        for id in event["inputs"]:
            part = self.parts[id]
            usual = part["props"].get("value")
            data.append(values.get(self.name(id), values.get(part["type"], usual)))
        join = {"fn_index": event["id"], "session_hash": session, "data": data}
        answer = await self.client.post("/gradio_api/queue/join", json=join)
        assert answer.status_code == 200, answer.text
        stream = await self.client.get("/gradio_api/queue/data", params={"session_hash": session})
        assert "process_completed" in stream.text, event
        return stream.text


@contextlib.asynccontextmanager
async def page_of(world: Any) -> Any:
    async with world.client() as client:
        yield Page(client, (await client.get("/config")).json())


def png(size: tuple[int, int], infotext: str | None = None) -> bytes:
    told = PngInfo()
    if infotext is not None:
        told.add_text("parameters", infotext)
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG", pnginfo=told)
    return file.getvalue()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Sizes of the large pictures that anything decodes meanwhile, not one pixel of them read."""
    seen: list[tuple[int, int]] = []
    load = ImageFile.ImageFile.load

    def watched(self: ImageFile.ImageFile) -> Any:
        if self.size == _LARGE:
            seen.append(self.size)
            raise AssertionError("a large picture is decoded")
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    return seen


def pictures(file: Any) -> dict[str, Any]:
    """The file in every place that a picture can have."""
    editor = {"background": file, "layers": [file] * 3, "composite": file}
    switches = {
        f"sd-{tab}-alwayson_scripts-controlnet-args-0-enabled": True for tab in ("txt2img", "img2img")
    }
    return {"image": file, "gallery": [{"image": file, "caption": None}], "imageeditor": editor} | switches


#: Nothing of the pixels is needed there, and a picture may be as large as it likes.
_OF_THE_HEADER = {("sd-png-info-image", "change"), ("sd-png-info-to-txt2img", "click")}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
async def test_no_event_decodes_a_picture_of_more_pixels_than_the_interface_takes(
    paged: Any, decoded: list[tuple[int, int]]
) -> None:
    async with page_of(paged) as page:
        values = pictures(await page.upload(png(_LARGE)))
        asked = set()
        for event in page.events:
            names = {(page.name(id), kind) for id, kind in event["targets"]}
            takes_one = any(page.parts[id]["type"] in values for id in event["inputs"])
            if not takes_one:
                continue
            if names & _OF_THE_HEADER:
                await page.told(event, values)
                continue
            generates = ("sd-img2img-generate", "click") in names
            for mode in ("img2img", "inpaint", "inpaint_upload") if generates else ("img2img",):
                told = await page.told(event, values | {"sd-img2img-chosen-mode": mode})
                assert "13000x13000 pixels; this server takes at most 16777216" in told, (names, mode)
            asked |= names
        assert not decoded
        for name in ("txt2img-generate", "img2img-generate", "extras-generate", "png-info-to-inpaint"):
            assert (f"sd-{name}", "click") in asked


async def test_a_text_is_called_no_picture_in_the_visitors_language(paged: Any) -> None:
    async with page_of(paged) as page:
        values = pictures(await page.upload(_TEXT))
        for name, kind in (
            ("sd-png-info-image", "change"),
            ("sd-png-info-to-txt2img", "click"),
            ("sd-img2img-init_images", "change"),
            ("sd-img2img-generate", "click"),
            ("sd-extras-generate", "click"),
        ):
            told = await page.told(page.event(name, kind), values)
            assert "The file is not a picture that can be read." in told, name
            assert base64.b64encode(_TEXT).decode()[:8] not in told
        page.client.headers["accept-language"] = "zh-CN"
        told = await page.told(page.event("sd-png-info-image", "change"), values)
        assert "无法读取该图片文件" in json.dumps(json.loads(told.split("data: ")[-2]), ensure_ascii=False)


@pytest.mark.parametrize("seed", [2**53, 10**23, int("9" * 4000)], ids=lambda seed: str(len(str(seed))))
async def test_a_number_that_no_browser_can_show_is_told_of_beside_its_field(paged: Any, seed: int) -> None:
    infotext = f"a cat\nSteps: 7, Sampler: Euler, CFG scale: 5, Seed: {seed}, Size: 64x64"
    async with page_of(paged) as page:
        values = pictures(await page.upload(png((8, 8), infotext)))
        for name, given in (
            ("sd-png-info-to-txt2img", values),
            ("sd-txt2img-read", {"sd-txt2img-prompt": infotext}),
        ):
            told = await page.told(page.event(name, "click"), given)
            assert '"success":true' in told
            assert "larger than a browser can show" in told, name
            assert '"value":7' in told


async def test_who_asks_for_a_session_that_has_no_events_is_told_so(
    paged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with paged.client() as client:
        for hash in ("unknown", "", "../x"):
            caplog.clear()
            answer = await client.get("/gradio_api/queue/data", params={"session_hash": hash})
            assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
            assert "session_hash" in answer.json()["detail"]
            assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_open_pages_leave_the_interface_connections(paged: Any) -> None:
    async with paged.client() as client, asyncio.TaskGroup() as group:
        held = [group.create_task(client.get(f"/gradio_api/heartbeat/s{number}")) for number in range(MOST)]
        await asyncio.sleep(1)
        async with asyncio.timeout(60):
            for path in ("/gradio_api/heartbeat/more", "/"):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()["error"]) == (503, "TooManyPages"), path
                assert answer.headers["retry-after"]
        assert (await client.get("/sdapi/v1/samplers")).status_code == 200
        for task in held:
            task.cancel()
        await asyncio.wait(held)
        assert (await client.get("/")).status_code == 200


async def test_a_session_has_few_streams(
    paged: Any, until: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    async with paged.client() as client, asyncio.TaskGroup() as group:
        held = [group.create_task(client.get("/gradio_api/heartbeat/one")) for _ in range(MOST_OF_SESSION)]
        await asyncio.sleep(1)
        async with asyncio.timeout(30):
            assert (await client.get("/gradio_api/heartbeat/one")).status_code == 503
        for task in held:
            task.cancel()


async def test_browsers_take_answers_for_what_they_are(paged: Any) -> None:
    async with paged.client() as client:
        for path in ("/", "/config", "/nothing", "/sdapi/v1/samplers", "/openapi.json"):
            assert (await client.get(path)).headers["x-content-type-options"] == "nosniff", path
    async with paged.client(user=None) as stranger:
        assert (await stranger.get("/")).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("origins", "ancestors", "frame"),
    [
        ((), "frame-ancestors 'self'", "SAMEORIGIN"),
        (("*",), "frame-ancestors 'self'", "SAMEORIGIN"),
        (("https://portal.example",), "frame-ancestors 'self' https://portal.example", None),
    ],
    ids=str,
)
async def test_only_pages_that_are_named_may_show_it_in_a_frame(
    make_world: Callable[..., Any],
    prompt_engine: Any,
    origins: tuple[str, ...],
    ancestors: str,
    frame: str | None,
) -> None:
    world = make_world(prompt_engine, page="on", cors_origins=origins)
    async with world.client() as client:
        headers = (await client.get("/")).headers
        assert headers["content-security-policy"] == ancestors
        assert headers.get("x-frame-options") == frame


async def test_no_header_of_the_visitors_leads_the_page_to_another_host(paged: Any) -> None:
    async with paged.client() as client:
        headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
        for path in ("/", "/config"):
            text = (await client.get(path, headers=headers)).text
            assert "evil.example" not in text
            assert '"root":"https://sd"' in text


async def test_a_picture_that_came_with_no_file_is_not_decoded_either(paged: Any) -> None:
    """Gradio's pictures may bring their own bytes, as data: URIs; nothing of the page looks at them."""
    uri = "data:image/png;base64," + base64.b64encode(png((8, 8))).decode()
    async with page_of(paged) as page:
        file = await page.upload(_TEXT) | {"url": uri}
        told = await page.told(page.event("sd-img2img-generate", "click"), pictures(file))
        assert "The file is not a picture" in told
        assert Path(file["path"]).read_bytes() == _TEXT
