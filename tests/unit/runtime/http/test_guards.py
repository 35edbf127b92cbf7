"""Authentication, the limit on bodies, counting, and errors nobody foresaw."""

import asyncio
import os

import httpx
import pytest
from starlette.exceptions import HTTPException

from sd_runtime.app import create_app
from sd_runtime.guards.body_limit import BodyLimit

SERVED = ["/sdapi/v1/samplers", "/sdapi/v1/loras", "/internal/ping", "/openapi.json"]
PATHS = [*SERVED, "/docs", "/nonsense"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_wants_credentials(world, path):
    async with world.client(user=None) as client:
        response = await client.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert response.json()["error"] == "Unauthorized"


@pytest.mark.parametrize("path", SERVED)
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
        "Bearer alice:s3cret:with colon",
        "Bearer ",
        "Digest username=alice",
        "Basic YWxpY2U6d3Jvbmc=",
        "Basic YWxpY2U6czNjcmV0OndpdGggY29sb24K",
    ],
    ids=[
        "nothing",
        "not base64",
        "no colon",
        "another scheme",
        "a token",
        "no token",
        "unknown",
        "wrong password",
        "a newline more",
    ],
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


def put_token(world, text="t0ken\n"):
    (world.root / "auth" / "token").write_text(text)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_token_beside_name_and_password_admits_too(world, scheme):
    async with world.client(user=None) as client:
        headers = {"authorization": f"{scheme} t0ken"}
        assert (await client.get("/internal/ping", headers=headers)).status_code == 401
        put_token(world)
        assert (await client.get("/internal/ping", headers=headers)).status_code == 200
        assert (await client.get("/internal/ping", auth=("alice", "s3cret:with colon"))).status_code == 200
        assert (await client.get("/internal/ping", auth=("t0ken", ""))).status_code == 401


async def test_a_token_alone_will_do_and_one_half_of_a_pair_will_not(world):
    put_token(world)
    headers = {"authorization": "Bearer t0ken"}
    async with world.client(user=None) as client:
        (world.root / "auth" / "password").unlink()
        assert (await client.get("/internal/ping", headers=headers)).status_code == 503
        (world.root / "auth" / "username").unlink()
        assert (await client.get("/internal/ping", headers=headers)).status_code == 200
        wrong = {"authorization": "Bearer t0ken0"}
        assert (await client.get("/internal/ping", headers=wrong)).status_code == 401


async def test_an_empty_token_admits_nobody(world):
    put_token(world, "\n")
    async with world.client(user=None) as client:
        response = await client.get("/internal/ping", headers={"authorization": "Bearer "})
    assert response.status_code == 503


async def test_a_token_that_is_taken_away_does_not_count_any_more(world):
    put_token(world)
    headers = {"authorization": "Bearer t0ken"}
    async with world.client(user=None) as client:
        assert (await client.get("/internal/ping", headers=headers)).status_code == 200
        (world.root / "auth" / "token").unlink()
        assert (await client.get("/internal/ping", headers=headers)).status_code == 401


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


@pytest.fixture
async def narrow_world(make_world, prompt_engine):
    """A server that takes bodies of 4096 bytes."""
    made = make_world(prompt_engine, max_body_bytes=4096)
    await made.load()
    return made


async def test_a_body_that_announces_too_much_is_refused_unread(narrow_world):
    async def never():
        raise AssertionError("the body was read")
        yield b""

    headers = {"content-length": "4097", "content-type": "application/json"}
    async with narrow_world.client() as client:
        response = await client.post("/sdapi/v1/png-info", content=never(), headers=headers)
    assert (response.status_code, response.json()["error"]) == (413, "BodyTooLarge")


async def test_a_body_that_turns_out_too_large_is_refused(narrow_world):
    async def endless():
        for _ in range(5):
            yield b" " * 1024
        raise AssertionError("more was read than is accepted")

    async with narrow_world.client() as client:
        response = await client.post(
            "/sdapi/v1/png-info", content=endless(), headers={"content-type": "application/json"}
        )
    assert (response.status_code, response.json()["error"]) == (413, "BodyTooLarge")
    assert "4096" in response.json()["detail"]


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


ORIGIN = {"origin": "https://a.example"}
PREFLIGHT = ORIGIN | {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


@pytest.fixture
def open_world(make_world, prompt_engine):
    """A server that pages of one origin may call."""
    return make_world(prompt_engine, cors_origins="https://a.example")


async def test_a_browser_may_ask_without_credentials_what_it_may_send(open_world):
    async with open_world.client(user=None) as client:
        response = await client.options("/sdapi/v1/txt2img", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://a.example"
    assert "authorization" in response.headers["access-control-allow-headers"]


async def test_pages_of_that_origin_read_answers_and_refusals(open_world):
    async with open_world.client(user=None) as client:
        refused = await client.get("/internal/ping", headers=ORIGIN)
        answered = await client.get("/internal/ping", headers=ORIGIN, auth=("alice", "s3cret:with colon"))
    assert (refused.status_code, answered.status_code) == (401, 200)
    for response in (refused, answered):
        assert response.headers["access-control-allow-origin"] == "https://a.example"
        assert response.headers["access-control-allow-credentials"] == "true"


async def test_pages_of_other_origins_do_not(open_world):
    async with open_world.client() as client:
        response = await client.get("/internal/ping", headers={"origin": "https://b.example"})
        preflight = await client.options(
            "/sdapi/v1/txt2img", headers=PREFLIGHT | {"origin": "https://b.example"}
        )
    assert "access-control-allow-origin" not in response.headers
    assert preflight.status_code == 400


async def test_pages_of_any_origin_do_not_act_with_credentials_that_the_browser_knows(
    make_world, prompt_engine
):
    async with make_world(prompt_engine, cors_origins="*").client() as client:
        response = await client.get("/internal/ping", headers=ORIGIN)
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


async def test_without_the_setting_no_page_of_another_origin_reads_anything(world):
    async with world.client() as client:
        response = await client.get("/internal/ping", headers=ORIGIN)
    assert not any(name.startswith("access-control") for name in response.headers)


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


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_there_is_no_page_that_takes_scripts_from_elsewhere_and_the_schema_is_told(world, path):
    async with world.client() as client:
        answer = await client.get(path)
        assert "/sdapi/v1/txt2img" in (await client.get("/openapi.json")).json()["paths"]
    assert answer.status_code == 404
    assert "/openapi.json lists what there is" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/sdapi/v1/txt2img/"), ("GET", "/sdapi/v1/samplers/"), ("POST", "/v1/jobs/")],
)
async def test_a_slash_at_the_end_is_told_and_not_redirected(world, method, path):
    async with world.client() as client:
        answer = await client.request(method, path, json={})
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert f"there is no {path} here" in answer.json()["detail"]
