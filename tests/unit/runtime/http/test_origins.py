"""Pages in a browser: those of other origins change nothing, and none gets in under a foreign name."""

import hashlib

import pytest

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = b'{"prompt": "a cat", "width": 64, "height": 64, "steps": 4}'


async def written(world, headers, *, path=TXT2IMG):
    async with world.client() as client:
        return await client.post(path, content=SMALL, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://sd:81"},
        {"origin": "http://[::1"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", [TXT2IMG, "/v1/jobs", "/sdapi/v1/interrupt"])
async def test_pages_of_other_origins_change_nothing(world, headers, path):
    response = await written(world, headers, path=path)
    assert response.status_code == 403
    assert (response.json()["error"], set(response.json())) == (
        "ForeignOrigin",
        {"error", "detail", "body", "errors"},
    )
    assert "SD_CORS_ORIGINS" in response.json()["detail"]
    assert world.engine.tickets == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://sd"},
        {"origin": "https://sd"},  # a proxy has ended TLS
        {"origin": "https://public.example", "sec-fetch-site": "same-origin"},  # and has changed the Host
        {"sec-fetch-site": "none"},
    ],
)
async def test_its_own_pages_and_what_is_no_browser_go_on_also_untyped(world, headers):
    assert (await written(world, headers)).status_code == 200


@pytest.mark.parametrize("origins", ["https://a.example", "https://A.example/", "*"])
async def test_pages_of_named_origins_may(make_world, prompt_engine, origins):
    world = make_world(prompt_engine, cors_origins=origins)
    await world.load()
    assert (await written(world, {"origin": "https://a.example"})).status_code == 200


async def test_reading_is_left_to_the_browser(world):
    async with world.client() as client:
        response = await client.get("/internal/ping", headers={"origin": "https://evil.example"})
    assert response.status_code == 200


async def answer_to(world, host):
    async with world.client(user=None) as client:
        return await client.get("/internal/ping", headers={"host": host})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("sd.localhost", 200),
        ("tunnel.example:7860", 200),
        ("evil.example", 403),
        ("evil.example:7860", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
    ],
)
async def test_a_server_of_one_machine_knows_its_names(make_world, prompt_engine, host, status):
    named = {"cors_origins": "https://tunnel.example"}
    world = make_world(prompt_engine, auth="disabled", host="127.0.0.1", **named)
    response = await answer_to(world, host)
    assert response.status_code == status
    if status == 403:
        assert response.json()["error"] == "ForeignHost"
        assert repr(host) in response.json()["detail"]


@pytest.mark.parametrize("given", [{"host": ""}, {"host": "0.0.0.0"}, {"host": "::1", "cors_origins": "*"}])
async def test_a_server_that_others_reach_or_any_page_may_use_is_called_as_they_like(
    make_world, prompt_engine, given
):
    world = make_world(prompt_engine, auth="disabled", **given)
    assert (await answer_to(world, "sd.example")).status_code == 200


async def test_with_credentials_the_name_does_not_matter(make_world, prompt_engine):
    world = make_world(prompt_engine, host="127.0.0.1")
    async with world.client() as client:
        response = await client.get("/internal/ping", headers={"host": "sd.example"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("listens", "host", "told"),
    [
        ("127.0.0.1", "localhost:9091", {"/healthz": 200, "/metrics": 200, "/v1/state": 200}),
        ("127.0.0.1", "evil.example:9091", {"/healthz": 403, "/metrics": 403, "/v1/state": 403}),
        # Others reach it too, and probes and Prometheus call it by an address of the pod.
        ("", "10.0.0.7:9091", {"/healthz": 200, "/metrics": 200, "/v1/state": 401}),
        ("0.0.0.0", "evil.example:9091", {"/healthz": 200, "/metrics": 200, "/v1/state": 401}),
    ],
)
async def test_no_page_of_a_stranger_reads_the_management_port_of_a_workstation(
    make_world, prompt_engine, listens, host, told
):
    world = make_world(prompt_engine, host=listens, auth="disabled")
    await world.load()
    async with world.management(host=host) as client:
        assert {path: (await client.get(path)).status_code for path in told} == told


async def test_no_page_of_a_stranger_wishes_for_anything(make_world, prompt_engine):
    world = make_world(prompt_engine, auth="disabled", host="0.0.0.0")
    await world.load()
    async with world.management(host="evil.example") as client:
        answer = await client.put("/v1/desired", json={})
    assert answer.status_code == 401


async def test_with_the_management_token_the_name_does_not_matter(make_world, prompt_engine):
    digest = hashlib.sha256(b"token").hexdigest()
    world = make_world(prompt_engine, management_token_sha256=digest)
    async with world.management(host="10.0.0.7:9091", address="10.0.0.1") as client:
        answer = await client.get("/v1/state", headers={"authorization": "Bearer token"})
    assert answer.status_code == 200
