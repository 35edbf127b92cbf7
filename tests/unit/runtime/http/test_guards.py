"""Authentication, the limit on bodies, counting, and errors nobody foresaw."""

import asyncio
import os

import httpx
import pytest
from starlette.exceptions import HTTPException

from sd_runtime.app import MAX_BODY_BYTES, create_app
from sd_runtime.guards.body_limit import BodyLimit

PATHS = ["/sdapi/v1/samplers", "/sdapi/v1/loras", "/internal/ping", "/docs", "/openapi.json", "/nonsense"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_wants_credentials(world, path):
    async with world.client(user=None) as client:
        response = await client.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert response.json()["error"] == "Unauthorized"


@pytest.mark.parametrize("path", PATHS[:-1])
async def test_every_path_is_served_with_them(world, path):
    async with world.client() as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic YWxpY2U=",
        "Bearer YWxpY2U6czNjcmV0OndpdGggY29sb24=",
        "Basic YWxpY2U6d3Jvbmc=",
        "Basic YWxpY2U6czNjcmV0OndpdGggY29sb24K",
    ],
    ids=["nothing", "not base64", "no colon", "another scheme", "wrong password", "a newline more"],
)
async def test_other_headers_are_refused(world, header):
    async with world.client(user=None) as client:
        response = await client.get("/internal/ping", headers={"authorization": header})
    assert response.status_code == 401


@pytest.mark.parametrize(
    "user", [("alice", "wrong"), ("bob", "s3cret:with colon"), ("alice:s3cret", "with colo")]
)
async def test_wrong_credentials_are_refused(world, user):
    async with world.client(user=user) as client:
        assert (await client.get("/internal/ping")).status_code == 401


async def test_changed_credentials_count_at_once(world):
    password = world.root / "auth" / "password"
    async with world.client() as client:
        assert (await client.get("/internal/ping")).status_code == 200
        password.write_text("another")
        os.utime(password, ns=(1, 1))
        assert (await client.get("/internal/ping")).status_code == 401
        assert (await client.get("/internal/ping", auth=("alice", "another"))).status_code == 200


@pytest.mark.parametrize("spoil", ["missing", "empty", "colon"])
async def test_without_usable_credentials_nothing_is_served_and_the_log_says_why(world, spoil, caplog):
    file = world.root / "auth" / ("username" if spoil == "colon" else "password")
    async with world.client() as client:
        assert (await client.get("/internal/ping")).status_code == 200
        if spoil == "missing":
            file.unlink()
        else:
            file.write_text({"empty": "\n", "colon": "al:ice"}[spoil])
        for _ in range(2):
            response = await client.get("/internal/ping")
            assert response.status_code == 503
    assert response.json()["error"] == "CredentialsMissing"
    assert "auth" in caplog.text


async def test_no_credentials_are_wanted_where_authentication_is_disabled(make_world, prompt_engine):
    world = make_world(prompt_engine, auth="disabled")
    async with world.client(user=None) as client:
        assert (await client.get("/internal/ping")).status_code == 200


async def test_a_body_that_announces_too_much_is_refused_unread(world):
    async def never():
        raise AssertionError("the body was read")
        yield b""

    headers = {"content-length": str(MAX_BODY_BYTES + 1), "content-type": "application/json"}
    async with world.client() as client:
        response = await client.post("/sdapi/v1/png-info", content=never(), headers=headers)
    assert response.status_code == 413


async def test_a_body_that_turns_out_too_large_is_refused(world):
    async def endless():
        for _ in range(40):
            yield b" " * 1024 * 1024
        raise AssertionError("more was read than is accepted")

    async with world.client() as client:
        response = await client.post(
            "/sdapi/v1/png-info", content=endless(), headers={"content-type": "application/json"}
        )
    assert response.status_code == 413
    assert str(MAX_BODY_BYTES) in response.json()["detail"]


async def test_a_body_that_does_not_go_on_is_given_up_but_an_answer_may_take_its_time():
    told = []

    async def app(scope, receive, send):
        try:
            while (await receive())["type"] == "http.request":
                told.append("some")
        except HTTPException as error:
            told.append(error.status_code)

    def stalling(*messages):
        left = list(messages)

        async def receive():
            if left:
                return left.pop(0)
            await asyncio.sleep(0.05)
            return {"type": "http.disconnect"}

        return receive

    begun = {"type": "http.request", "body": b"{", "more_body": True}
    guarded = BodyLimit(app, limit=10, seconds=0.01)
    await guarded({"type": "http", "headers": []}, stalling(begun), None)
    assert told == ["some", 408]
    told.clear()
    await guarded({"type": "http", "headers": []}, stalling(begun, begun | {"more_body": False}), None)
    assert told == ["some", "some"]


async def test_answers_are_counted_by_pattern_and_status(world):
    async with world.client() as client:
        await client.get("/sdapi/v1/samplers")
        await client.post("/sdapi/v1/txt2img", json={"steps": 0})
        await client.get("/made/up/by/a/client")
    counted = world.services.metrics.registry.get_sample_value
    assert counted("sd_requests_total", {"route": "/sdapi/v1/samplers", "code": "200"}) == 1
    assert counted("sd_requests_total", {"route": "/sdapi/v1/txt2img", "code": "422"}) == 1
    assert counted("sd_requests_total", {"route": "other", "code": "404"}) == 1


async def test_answers_tell_how_long_they_took(world):
    async with world.client() as client:
        response = await client.get("/internal/ping")
    assert float(response.headers["x-process-time"]) >= 0


async def test_an_unforeseen_error_is_logged_under_an_id_that_the_client_gets(world, caplog):
    app = create_app(world.services)

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("secret")

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sd", auth=("alice", "s3cret:with colon")
    ) as client:
        response = await client.get("/broken")
    assert response.status_code == 500
    refusal = response.json()
    assert refusal["error"] == "InternalError"
    assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.incident in refusal["detail"]
    counted = world.services.metrics.registry.get_sample_value
    assert counted("sd_requests_total", {"route": "/broken", "code": "500"}) == 1
