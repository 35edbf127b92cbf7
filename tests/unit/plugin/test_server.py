"""The server keeps the contract for its modules: statuses, sentences, limits, deadlines, several at once."""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import plain
import pytest
from plugin_processes import body

from sd_plugin import archive, runs, server
from sd_plugin.conformance.probe import picture
from sd_plugin.errors import InvalidParameter, ModuleUnavailable
from sd_plugin.module import Plugin, Result

_RUN = "/v1/run/plain"


def caller(made: Plugin, *, grace: float = 0.2) -> httpx.AsyncClient:
    """A client of the plugin's application, without a socket between."""
    app = server.create_app(made, runs.Runs(made.at_once, grace=grace))
    # The application raises again what it has answered with 500, for its log.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://p")


async def ran(made: Plugin, **request: Any) -> httpx.Response:
    async with caller(made) as asking:
        return await asking.post(_RUN, **({"content": body()} | request))


def opened(answer: httpx.Response) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as entries:
        assert sorted(entries.namelist()) == ["image.npy", "result.json"]
        assert {each.compress_type for each in entries.infolist()} == {zipfile.ZIP_STORED}
        return np.load(io.BytesIO(entries.read("image.npy"))), json.loads(entries.read("result.json"))


async def test_a_run_has_every_parameter_and_answers_what_the_module_tells() -> None:
    answer = await ran(plain.plugin(), content=body(parameters=b'{"resolution": 128.0}'))
    image, info = opened(answer)
    assert answer.headers["content-type"] == "application/zip"
    assert image.shape == (128, 128, 3)
    assert info["parameters"] == {"resolution": 128, "strength": 1.0}
    assert info["seconds"] >= 0


@pytest.mark.parametrize("write", [archive.npy, archive.png])
async def test_npy_and_png_give_the_same(write: Any) -> None:
    name = f"image.{write.__name__}"
    content = archive.pack({name: write(picture(64, 80)), "parameters.json": b'{"resolution": 64}'})
    image, _ = opened(await ran(plain.plugin(), content=content))
    assert (image == picture(64, 80)).all()


async def test_a_mask_reaches_the_module() -> None:
    mask = archive.npy(np.zeros((64, 64), np.uint8))
    content = archive.pack({"image.npy": archive.npy(picture(64, 64)), "mask.npy": mask})
    _, info = opened(await ran(plain.plugin(), content=content))
    assert info["mask"] == [64, 64]


@pytest.mark.parametrize(
    ("path", "status", "error", "sentence"),
    [
        ("/v1/run/other", 404, "UnknownModule", "module: 'other' is not known; allowed: plain, missing"),
        ("/v1/run/missing", 503, "Unavailable", "weights.pth is missing."),
        ("/v1/other", 404, "NotFound", "request: Not Found; allowed: GET /healthz, GET /v1/plugin"),
        ("/healthz", 405, "MethodNotAllowed", "request: Method Not Allowed; allowed: GET /healthz"),
    ],
)
async def test_what_is_not_there_is_named(path: str, status: int, error: str, sentence: str) -> None:
    async with caller(plain.plugin()) as asking:
        answer = await asking.post(path, content=body())
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["detail"].startswith(sentence)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (b'{"other": 1}', "parameter: 'other' is not accepted; allowed: resolution, strength"),
        (b'{"resolution": 63}', "resolution: 63 is not accepted; allowed: a whole number from 64 to 2048"),
        (b'{"resolution": 512.5}', "resolution: 512.5 is not accepted; allowed: a whole number from 64"),
        (b'{"strength": 2.1}', "strength: 2.1 is not accepted; allowed: a number from 0.0 to 2.0"),
        (b'{"strength": true}', "strength: True is not accepted; allowed: a number from 0.0 to 2.0"),
        (b'{"strength": 1e999}', "strength: inf is not accepted; allowed: a number from 0.0 to 2.0"),
        (b'{"strength": NaN}', "parameters.json: it is not JSON: NaN is no number of JSON's"),
        (b"[" * 60_000, "parameters.json: it is not JSON: maximum recursion depth"),
        (b"[1]", "parameters.json: [1] is not accepted; allowed: a JSON object"),
        (b'{"strength": "\\ud800"}', "strength: '\\ud800' is not accepted"),
    ],
)
async def test_a_parameter_that_is_not_accepted_is_named(parameters: bytes, sentence: str) -> None:
    answer = await ran(plain.plugin(), content=body(parameters=parameters))
    assert (answer.status_code, answer.json()["error"]) == (422, "Invalid")
    assert answer.json()["detail"].startswith(sentence)


async def test_a_picture_whose_map_would_be_endless_is_refused() -> None:
    answer = await ran(plain.plugin(), content=body(height=1, width=10_000))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(
        "image: '10000x1' is not accepted; allowed: proportions whose map"
    )


@pytest.mark.parametrize("length", [b"4294967296", None])
async def test_a_body_larger_than_any_request_is_413(length: bytes | None) -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield bytes(1_000_000)

    headers = {"Content-Length": length} if length else {}
    answer = await ran(plain.plugin(), content=chunks(), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (413, "TooLarge")
    assert "bytes are too many; allowed: 1262144" in answer.json()["detail"]


@pytest.mark.parametrize("header", ["soon", "0", "-1", "nan", "inf", ""])
async def test_a_deadline_that_is_no_time_is_named(header: str) -> None:
    answer = await ran(plain.plugin(), headers={"Sd-Deadline": header})
    assert (answer.status_code, answer.json()["error"]) == (422, "Invalid")
    assert answer.json()["detail"].startswith(f"Sd-Deadline: {header!r} is not accepted; allowed: a number")


def _raising(error: BaseException) -> Plugin:
    def call(image: Any, mask: Any, parameters: Mapping[str, float]) -> Result:
        raise error

    return plain.made(call)


@pytest.mark.parametrize(
    ("error", "status", "word", "sentence"),
    [
        (
            RuntimeError("a tensor\nof the wrong kind"),
            500,
            "ModuleFailed",
            "plain failed: RuntimeError: a tensor",
        ),
        (
            MemoryError(),
            500,
            "ModuleFailed",
            "plain failed: it needs more memory than there is; a smaller picture or a lower resolution needs"
            " less",
        ),
        (SystemExit(3), 500, "ModuleFailed", "plain failed: SystemExit: 3"),
        (ModuleUnavailable("weights.pth is cut off."), 503, "Unavailable", "weights.pth is cut off."),
        (
            InvalidParameter("image", "1x1", "more"),
            422,
            "Invalid",
            "image: '1x1' is not accepted; allowed: more",
        ),
    ],
)
async def test_an_error_of_a_module_is_a_sentence_and_the_next_run_is_served(
    error: BaseException, status: int, word: str, sentence: str
) -> None:
    async with caller(_raising(error)) as asking:
        for _ in range(2):
            answer = await asking.post(_RUN, content=body())
            assert answer.status_code == status
            assert answer.json() == {"error": word, "detail": sentence}
            assert (await asking.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (np.zeros((512, 512), np.uint8), "it made an array uint8 (512, 512), which is no picture"),
        (np.zeros((512, 512, 3), np.float32), "it made an array float32 (512, 512, 3), which is no picture"),
        (np.zeros((512, 500, 3), np.uint8), "it made a picture of 500x512 in place of 512x512"),
    ],
)
async def test_what_breaks_the_contract_does_not_leave_the_server(made: Any, sentence: str) -> None:
    answer = await ran(plain.made(lambda *_: Result(made)))
    assert (answer.status_code, answer.json()["error"]) == (500, "ModuleFailed")
    assert answer.json()["detail"] == f"plain failed: ValueError: {sentence}"


def _sleeping(seconds: float) -> Any:
    def call(image: Any, mask: Any, parameters: Mapping[str, float]) -> Result:
        time.sleep(seconds)
        return plain.as_it_is(image, mask, parameters)

    return call


@pytest.mark.parametrize(("limit", "header"), [(20.0, "0.1"), (0.1, "20")])
async def test_a_run_has_the_shorter_of_both_times(limit: float, header: str) -> None:
    made = plain.made(_sleeping(0.5), seconds=limit)
    began = time.monotonic()
    answer = await ran(made, headers={"Sd-Deadline": header})
    assert time.monotonic() - began < 0.45
    assert answer.json() == {"error": "DeadlineExceeded", "detail": "plain did not finish within 0.1 s"}
    assert answer.status_code == 504


async def test_a_run_that_ends_soon_after_its_deadline_costs_no_worker() -> None:
    places = runs.Runs(1, grace=1.0)
    with suppress(runs.DeadlineExceeded):
        await places.run(lambda: time.sleep(0.2), name="x", until=time.monotonic() + 0.05, seconds=0.05)
    await asyncio.sleep(1.2)
    assert not places.stuck.is_set()


async def test_the_wait_for_a_turn_counts() -> None:
    async with caller(plain.made(_sleeping(0.6))) as asking:
        first = asyncio.create_task(asking.post(_RUN, content=body()))
        await asyncio.sleep(0.1)
        answer = await asking.post(_RUN, content=body(), headers={"Sd-Deadline": "0.1"})
        assert answer.json()["detail"] == "plain did not get its turn within 0.1 s"
        assert answer.status_code == 504
        assert (await first).status_code == 200


async def test_one_more_than_may_wait_is_429() -> None:
    async with caller(plain.made(_sleeping(0.05))) as asking:
        many = [asking.post(_RUN, content=body()) for _ in range(1 + runs.MOST_WAITING + 3)]
        statuses = [answer.status_code for answer in await asyncio.gather(*many)]
        assert sorted(statuses) == [200] * (1 + runs.MOST_WAITING) + [429] * 3
        assert (await asking.post(_RUN, content=body())).status_code == 200


async def test_those_who_wait_behind_a_run_without_end_are_told_at_once() -> None:
    made = plain.made(_sleeping(1.5))
    async with caller(made, grace=0.1) as asking:
        stuck = asyncio.create_task(asking.post(_RUN, content=body(), headers={"Sd-Deadline": "0.1"}))
        await asyncio.sleep(0.05)
        answer = await asking.post(_RUN, content=body())
        assert (answer.status_code, answer.json()["error"]) == (429, "Busy")
        assert answer.json()["detail"].startswith("the worker is being replaced")
        assert (await stuck).status_code == 504


async def test_a_description_may_change_while_the_process_lives() -> None:
    module = plain.Module()
    made = Plugin("plain", "1", "Preprocessor", [module])
    async with caller(made) as asking:
        assert (await asking.get("/v1/plugin")).json()["modules"][0]["available"] is True
        module.description = module.description.model_copy(update={"available": False, "reason": "gone."})
        assert (await asking.get("/v1/plugin")).json()["modules"][0]["reason"] == "gone."
        assert (await asking.post(_RUN, content=body())).status_code == 503
