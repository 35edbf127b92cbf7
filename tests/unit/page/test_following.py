"""A job, from handing it in to its end, against an interface that is written by hand."""

import asyncio
from typing import Any

import pytest

from sd_page import api, following
from sd_page.api import Refused
from sd_page.following import Standing

QUEUED = {
    "id": "7",
    "state": "queued",
    "position": 2,
    "progress": 0.0,
    "eta_seconds": None,
    "step": 0,
    "steps": 20,
    "error": None,
}
RUNNING = QUEUED | {"state": "running", "position": 0, "progress": 0.5, "eta_seconds": 3.0, "step": 10}
DONE = RUNNING | {"state": "done", "progress": 1.0, "step": 20}
GONE = Refused(404, "NotFound", "there is no such job")
BUSY = Refused(503, "ReplicaUnreachable", "the replica does not answer")


class Scripted(api.Api):
    """Answers with these, one after the other; the last again and again."""

    def __init__(self, *answers: dict[str, Any] | Refused, preview: bytes | None = None) -> None:
        self._answers = list(answers)
        self._preview = preview
        self.asked: list[tuple[str, str]] = []
        self.keys: list[str] = []

    async def get(self, path: str, **parameters: str) -> Any:
        return self._next("GET", path)

    async def post(self, path: str, body: object, headers: Any = None) -> Any:
        self.keys.append(headers["Idempotency-Key"])
        return self._next("POST", path)

    async def picture(self, path: str, **parameters: str) -> bytes | None:
        return self._preview

    def _next(self, method: str, path: str) -> Any:
        self.asked.append((method, path))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Refused):
            raise answer
        return answer


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeps take no time."""
    sleep = asyncio.sleep
    monkeypatch.setattr(following.asyncio, "sleep", lambda _seconds: sleep(0))


@pytest.fixture
def out_of_patience(monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
    ticks = iter(range(0, 100_000, 60))
    monkeypatch.setattr(following.time, "monotonic", lambda: float(next(ticks)))


async def all_of(interface: api.Api) -> list[Standing]:
    return [standing async for standing in following.follow(interface, "7")]


@pytest.mark.usefixtures("at_once")
async def test_a_job_is_followed_until_it_has_ended() -> None:
    seen = await all_of(Scripted(QUEUED, RUNNING, DONE, preview=b"png"))
    assert [(each.state, each.position, each.step) for each in seen] == [
        ("queued", 2, 0),
        ("running", 0, 10),
        ("done", 0, 20),
    ]
    assert [each.preview for each in seen] == [None, b"png", None]


@pytest.mark.usefixtures("at_once")
async def test_a_replica_that_does_not_answer_for_a_moment_is_asked_again() -> None:
    seen = await all_of(Scripted(RUNNING, BUSY, BUSY, DONE))
    assert [each.state for each in seen] == ["running", "done"]


@pytest.mark.usefixtures("out_of_patience")
async def test_one_that_never_answers_is_given_up() -> None:
    with pytest.raises(Refused) as raised:
        await all_of(Scripted(BUSY))
    assert raised.value is BUSY


@pytest.mark.usefixtures("at_once")
async def test_a_job_that_is_not_known_any_more_is_no_longer_asked_for() -> None:
    interface = Scripted(GONE)
    with pytest.raises(Refused):
        await all_of(interface)
    assert len(interface.asked) == 1


@pytest.mark.usefixtures("at_once")
async def test_a_job_that_is_handed_in_again_has_the_same_key() -> None:
    interface = Scripted(BUSY, QUEUED)
    assert (await following.hand_in(interface, "txt2img", {})).id == "7"
    assert len(interface.keys) == 2
    assert len(set(interface.keys)) == 1


@pytest.mark.usefixtures("at_once")
async def test_what_is_refused_is_not_handed_in_again() -> None:
    interface = Scripted(Refused(422, "Unsupported", "steps: 0 is not supported", "steps"))
    with pytest.raises(Refused):
        await following.hand_in(interface, "txt2img", {})
    assert len(interface.asked) == 1


def test_why_a_job_failed_names_its_field() -> None:
    failed = RUNNING | {"state": "failed", "error": {"error": "Unsupported", "detail": "prompt: too long"}}
    standing = following.standing_of(failed)
    assert standing.error is not None
    assert (standing.error.reason, standing.error.field) == ("Unsupported", "prompt")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": "Unsupported", "detail": "steps: 0 is not supported"}', ("Unsupported", "steps")),
        (b'{"error": "Invalid", "detail": "parameters.width: 5 is not accepted"}', ("Invalid", "width")),
        (
            b'{"error": "Unsupported", "detail": "alwayson_scripts.controlnet.args.0.image: no"}',
            ("Unsupported", "alwayson_scripts.controlnet.args.0.image"),
        ),
        (b'{"error": "NotFound", "detail": "Init image not found: none"}', ("NotFound", None)),
        (b'{"error": "QueueFull", "detail": "64 requests are unfinished"}', ("QueueFull", None)),
        (b"<html>", ("NotAnswered", None)),
        (b"[]", ("NotAnswered", None)),
    ],
)
def test_a_refusal_is_read_for_its_field(body: bytes, told: tuple[str, str | None]) -> None:
    refused = api.refusal_of(422, body)
    assert (refused.reason, refused.field) == told
    assert refused.detail
