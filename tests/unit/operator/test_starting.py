"""The process from its first moment on, at an API server of its own: what it says while it waits."""

import asyncio
import base64
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from sd_operator import names

SECRET = "/api/v1/namespaces/ops/secrets/own"
GROUP = f"/apis/{names.API_VERSION}"


def resource(kind: str, plural: str) -> dict[str, Any]:
    """One kind, as the discovery tells of it."""
    return {
        "name": plural,
        "kind": kind,
        "singularName": kind.lower(),
        "namespaced": True,
        "verbs": ["get", "list", "watch", "patch"],
    }


_OF_US = {"groupVersion": names.API_VERSION, "version": names.VERSION}
_DISCOVERED: dict[str, dict[str, Any]] = {
    "/api": {"versions": ["v1"]},
    # Kopf waits until namespaces are to be had.
    "/api/v1": {"resources": [resource("Namespace", "namespaces")]},
    "/apis": {"groups": [{"name": names.GROUP, "versions": [_OF_US], "preferredVersion": _OF_US}]},
    GROUP: {"kind": "APIResourceList", "resources": [resource(each.kind, each.plural) for each in names.OWN]},
}


class Server:
    """An API server without objects, which may have the definitions and the operator's key."""

    def __init__(self) -> None:
        self.defined = False
        self.key = asyncio.Event()
        #: Paths that somebody watches.
        self.watched: set[str] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Whatever is asked."""
        if request.path == SECRET:
            await self.key.wait()
            return web.json_response({"data": {"key": base64.b64encode(b"x" * 32).decode()}})
        if request.path.startswith(GROUP) and not self.defined:
            return web.json_response({"message": "page not found"}, status=404)
        if request.path in _DISCOVERED:
            return web.json_response(_DISCOVERED[request.path])
        if request.query.get("watch"):
            self.watched.add(request.path)
            watched = web.StreamResponse()
            await watched.prepare(request)
            await asyncio.Event().wait()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "resources": [], "items": []})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    """It, and where it is."""
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    async with TestServer(app, shutdown_timeout=0) as serving:
        yield found, str(serving.make_url(""))


@contextlib.asynccontextmanager
async def operator_at(url: str, folder: Path, port: int) -> AsyncIterator[None]:
    """The operator, with a kubeconfig of this API server."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "own",
        "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
        "clusters": [{"name": "own", "cluster": {"server": url}}],
        "users": [{"name": "own", "user": {"token": "none"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    log = (folder / "log").open("w+")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sd_operator"),
        env={
            **os.environ,
            "KUBECONFIG": str(folder / "kubeconfig"),
            "SDO_OPERATOR_IMAGE": "operator:1",
            "SDO_RUNTIME_IMAGE": "runtime:1",
            "SDO_NAMESPACE": "ops",
            "SDO_KEY_SECRET": "own",
            "SDO_METRICS_PORT": str(port),
        },
        stderr=log,
        stdout=log,
    )
    try:
        yield
        assert process.returncode is None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        # Shown where the test fails.
        log.seek(0)
        print(log.read())
        log.close()


async def told(port: int, path: str) -> tuple[int, Any]:
    """Status and complaints, or status 0 where nobody answers."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, (await answer.json())["complaints"]
    except aiohttp.ClientConnectionError:
        return 0, []


async def comes(port: int, path: str, expected: tuple[int, list[str]]) -> None:
    """Wait until that is answered."""
    found: object = None
    for _ in range(600):
        found = await told(port, path)
        if found == expected:
            return
        await asyncio.sleep(0.1)
    assert found == expected


async def test_while_it_waits_it_lives_and_says_what_it_waits_for(
    server: tuple[Server, str], tmp_path: Path, unused_tcp_port: int
) -> None:
    api, url = server
    lacking = f"waiting for {names.API_VERSION}: the CustomResourceDefinitions are not installed"
    async with operator_at(url, tmp_path, unused_tcp_port):
        await comes(unused_tcp_port, "/readyz", (503, [lacking]))
        assert await told(unused_tcp_port, "/healthz") == (200, [])
        api.defined = True
        await comes(unused_tcp_port, "/readyz", (503, ["waiting for Secret ops/own (SDO_KEY_SECRET)"]))
        assert await told(unused_tcp_port, "/healthz") == (200, [])
        api.key.set()
        await comes(unused_tcp_port, "/readyz", (200, []))
        async with asyncio.timeout(60):
            while not {f"{GROUP}/{each.plural}" for each in names.OWN} <= api.watched:
                await asyncio.sleep(0.1)
        assert await told(unused_tcp_port, "/healthz") == (200, [])


async def test_an_api_server_that_does_not_answer_is_waited_for_too(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    port = unused_tcp_port_factory()
    async with operator_at(f"http://127.0.0.1:{unused_tcp_port_factory()}", tmp_path, port):
        await comes(port, "/healthz", (200, []))
        status, complaints = await told(port, "/readyz")
        assert status == 503
        assert complaints and complaints[0].startswith(f"waiting for {names.API_VERSION}")
