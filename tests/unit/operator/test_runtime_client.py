"""Asking a pod what it holds, against a small HTTP server in the pod's place."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sd_operator.errors import RuntimeUnreachableError
from sd_operator.runtime_client import RuntimeClient

KEY = b"a key of the operator"
STATE = {
    "health": "Ready",
    "checkpoint": {"path": "models/Stable-diffusion/x.safetensors", "sha256": "a" * 64},
    "error": None,
    "device": {"type": "cuda", "name": "NVIDIA A100", "dtype": "float16"},
    "version": "0.1.0",
    "later": "unknown fields are fine",
}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Ask = Callable[[Answer], Awaitable[RuntimeClient]]


@pytest.fixture
async def pod() -> AsyncIterator[Ask]:
    servers: list[TestServer] = []
    async with aiohttp.ClientSession() as session:

        async def start(answer: Answer) -> RuntimeClient:
            app = web.Application()
            app.router.add_get("/v1/state", answer)
            server = TestServer(app)
            await server.start_server()
            servers.append(server)
            assert server.port is not None
            return RuntimeClient(session, key=KEY, port=server.port)

        yield start
    for server in servers:
        await server.close()


async def test_the_state_is_read_with_the_instance_s_own_token(pod: Ask) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response(STATE)

    client = await pod(answer)
    state = await client.state(pod_ip="127.0.0.1", uid="uid-1")
    assert state.checkpoint is not None and state.checkpoint.sha256 == "a" * 64
    assert state.device is not None and state.device.type == "cuda"
    (scheme, token) = seen[0].split()
    assert scheme == "Bearer"
    assert hashlib.sha256(token.encode()).hexdigest() == client.token_sha256("uid-1")


def test_every_instance_and_every_key_has_another_token() -> None:
    async def tokens() -> set[str]:
        async with aiohttp.ClientSession() as session:
            return {
                RuntimeClient(session, key=key).token(uid) for key in (b"k1", b"k2") for uid in ("u1", "u2")
            }

    import asyncio

    assert len(asyncio.run(tokens())) == 4


async def refused(_: web.Request) -> web.Response:
    return web.Response(status=401)


async def nonsense(_: web.Request) -> web.Response:
    return web.json_response({"health": "Fine"})


async def no_json(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


async def endless(_: web.Request) -> web.Response:
    return web.Response(text="[" + "1," * 200_000)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(refused, "HTTP 401"), (nonsense, "is none"), (no_json, "is none"), (endless, "is none")],
)
async def test_no_usable_answer_is_said_so(pod: Ask, answer: Answer, words: str) -> None:
    client = await pod(answer)
    with pytest.raises(RuntimeUnreachableError, match=words):
        await client.state(pod_ip="127.0.0.1", uid="u")


async def test_a_pod_that_does_not_listen_is_unreachable() -> None:
    async with aiohttp.ClientSession() as session:
        client = RuntimeClient(session, key=KEY, port=9)
        with pytest.raises(RuntimeUnreachableError, match=r"127\.0\.0\.1 does not answer"):
            await client.state(pod_ip="127.0.0.1", uid="u")
