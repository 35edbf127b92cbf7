"""Stands between the operator and the API server: counts writes, and does what networks and bad days do.

Errors, lost answers, lost and repeated events, streams that end or fall silent, the operator's sudden death.

Plain HTTP on loopback on the operator's side, through a kubeconfig of its own; TLS with the client
certificate of the real kubeconfig on the other. Which call gets which fault is decided by a random generator
with a seed, so that a run can be repeated as far as the operator's own timing allows.

Knows nothing of what the objects mean.
"""

import asyncio
import contextlib
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from benchmarks.rig.kube import Access

#: An HTTP status answered instead of the call (409: of a write; 410: of a list), or
#: hang: no answer for longer than the operator waits; reset: the connection is cut and the call was not made;
#: lost: the call was made, and the connection cut before the answer.
CallFault = Literal["409", "410", "429", "500", "503", "hang", "reset", "lost"]
#: dropped, twice, stale, late: what becomes of an event (stale: an earlier one of the stream comes again
#: after it); cut: the stream ends after it; torn: in the middle of it; silent: nothing more comes, and the
#: stream stays; expired: the stream ends with an ERROR event of code 410; gone: the watch is answered 410.
WatchFault = Literal["dropped", "twice", "stale", "late", "cut", "torn", "silent", "expired", "gone"]

CALL_FAULTS: tuple[CallFault, ...] = get_args(CallFault)
WATCH_FAULTS: tuple[WatchFault, ...] = get_args(WatchFault)

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
#: Words in the path of a list, over all namespaces and of one: api/v1/… or apis/GROUP/VERSION/….
LISTS = {True: (3, 5), False: (4, 6)}
RETRY_AFTER_SECONDS = 1
HANG_SECONDS = 40.0
LATEST_SECONDS = 2.0
REMEMBERED = 50
#: Hop by hop, or ours to say.
NOT_FORWARDED = {
    "host",
    "connection",
    "authorization",
    "accept-encoding",
    "content-length",
    "transfer-encoding",
}
REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True, slots=True)
class Write:
    """A write of the operator that the API server took."""

    verb: str
    #: plural and, after a slash, the subresource
    kind: str
    namespace: str
    name: str
    created: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}" + (" (created)" if self.created else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """How likely each fault is: of a call that can have it, of an event of a watch."""

    calls: Mapping[CallFault, float] = field(default_factory=dict)
    events: Mapping[WatchFault, float] = field(default_factory=dict)
    seed: int = 0


@dataclass(slots=True)
class Death:
    """The operator dies of its k-th write from now, before or after it hears of it."""

    after: int
    unheard: bool
    kill: Callable[[], None]


class FaultProxy:
    """One operator's way to the API server."""

    def __init__(self, access: Access, session: aiohttp.ClientSession) -> None:
        self._access = access
        self._session = session
        self.writes: list[Write] = []
        self.faults: Counter[str] = Counter()
        self.death: Death | None = None
        self.died_of: Write | None = None
        self._plan = Plan()
        self._random = random.Random(0)
        self._calls: set[asyncio.Task[Any]] = set()

    def disturb(self, plan: Plan) -> None:
        """From now on."""
        self._plan, self._random = plan, random.Random(plan.seed)

    def undisturb(self) -> None:
        """No faults any more; streams that are silent are not woken, so they are let go by their own time."""
        self._plan = Plan()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any call."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await self._handle(request)
        except ConnectionError:
            # The operator was killed, or the call cut meanwhile.
            return _cut(request)
        finally:
            self._calls.discard(task)

    async def close(self) -> None:
        """End the calls that nobody waits for any more: a client that was killed leaves them hanging."""
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") in ("true", "1"):
            return await self._watch(request)
        body = await request.read()
        fault = self._call_fault(request)
        if fault is not None and fault != "lost":
            return await self._refuse(request, fault)
        async with self._forward(request, body) as answer:
            content = await answer.read()
            response = web.Response(status=answer.status, body=content, headers=_passed_on(answer.headers))
        if request.method in WRITES and answer.status < 300:
            self._written(request, answer.status)
            death = self._due_death()
            if death is not None and not death.unheard:
                await response.prepare(request)
                await response.write_eof()
            if death is not None:
                death.kill()
            if fault == "lost" or (death is not None and death.unheard):
                return _cut(request)
        return response

    def _written(self, request: web.Request, status: int) -> None:
        self.writes.append(write_of(request.method, request.path, created=status == 201))
        if self.death is not None:
            self.death.after -= 1

    def _due_death(self) -> Death | None:
        death = self.death
        if death is None or death.after > 0:
            return None
        self.died_of, self.death = self.writes[-1], None
        return death

    def _call_fault(self, request: web.Request) -> CallFault | None:
        for fault, likelihood in self._plan.calls.items():
            if not _can_have(request, fault):
                continue
            if self._random.random() < likelihood:
                self.faults[fault] += 1
                return fault
        return None

    async def _refuse(self, request: web.Request, fault: CallFault) -> web.StreamResponse:
        if fault == "hang":
            await asyncio.sleep(HANG_SECONDS)
            return _cut(request)
        if fault == "reset":
            return _cut(request)
        code = int(fault)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if code == 429 else {}
        return web.json_response(failure(code), status=code, headers=headers)

    @contextlib.asynccontextmanager
    async def _forward(
        self, request: web.Request, body: bytes | None, *, patient: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in NOT_FORWARDED}
        url = URL(self._access.server + request.raw_path, encoded=True)
        timeout = aiohttp.ClientTimeout(total=None if patient else 60)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, timeout=timeout
        ) as answer:
            yield answer

    def _event_fault(self) -> WatchFault | None:
        for fault, likelihood in self._plan.events.items():
            if fault != "gone" and self._random.random() < likelihood:
                self.faults[fault] += 1
                return fault
        return None

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if self._random.random() < self._plan.events.get("gone", 0.0):
            self.faults["gone"] += 1
            return web.json_response(failure(410), status=410)
        async with self._forward(request, None, patient=True) as answer:
            if answer.status != 200:
                content = await answer.read()
                return web.Response(status=answer.status, body=content, headers=_passed_on(answer.headers))
            response = web.StreamResponse(headers=_passed_on(answer.headers))
            await response.prepare(request)
            earlier: deque[bytes] = deque(maxlen=REMEMBERED)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                async for line in answer.content:
                    if b'"BOOKMARK"' in line[:40]:
                        await response.write(line)
                    elif not await self._event(request, response, line, earlier):
                        break
            return response

    async def _event(
        self, request: web.Request, response: web.StreamResponse, line: bytes, earlier: deque[bytes]
    ) -> bool:
        """Whether the stream goes on after this event."""
        fault = self._event_fault()
        if fault == "late":
            await asyncio.sleep(self._random.uniform(0.0, LATEST_SECONDS))
        if fault == "silent":
            await asyncio.sleep(HANG_SECONDS)
            return False
        if fault == "torn":
            await response.write(line[: len(line) // 2])
            _cut(request)
            return False
        if fault == "expired":
            event = {"type": "ERROR", "object": failure(410)}
            await response.write(json.dumps(event).encode() + b"\n")
            return False
        if fault != "dropped":
            await response.write(line * (2 if fault == "twice" else 1))
        if fault == "stale" and earlier:
            await response.write(self._random.choice(earlier))
        earlier.append(line)
        return fault != "cut"


def _can_have(request: web.Request, fault: CallFault) -> bool:
    """Whether an API server may answer such a call so: only writes conflict, and only lists expire."""
    if fault in ("409", "lost"):
        return request.method in WRITES
    if fault == "410":
        # A list is below a group and a version, and names no object.
        return request.method == "GET" and len(request.path.strip("/").split("/")) in LISTS[_is_core(request)]
    return True


def _is_core(request: web.Request) -> bool:
    return request.path.startswith("/api/")


def write_of(method: str, path: str, *, created: bool) -> Write:
    """What a call wrote, from its path."""
    parts = path.strip("/").split("/")
    # api/v1/… or apis/GROUP/VERSION/…
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    kind = rest[0] + (f"/{rest[2]}" if len(rest) > 2 else "")
    return Write(method, kind, namespace, name, created)


def failure(code: int) -> dict[str, Any]:
    """What the API server says when it refuses."""
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": REASONS[code],
        "message": f"the soak test answers with {code}",
    }


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: headers[key] for key in ("Content-Type", "Retry-After", "Warning") if key in headers}


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@contextlib.asynccontextmanager
async def standing_between(kubeconfig: Path, own: Path) -> AsyncIterator[FaultProxy]:
    """A proxy to the API server of `kubeconfig`, reached by the kubeconfig that is written to `own`."""
    access = Access.read(kubeconfig)
    async with access.session() as session:
        proxy = FaultProxy(access, session)
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            own.write_text(yaml.safe_dump(kubeconfig_for(f"http://{host}:{port}")))
            yield proxy
        finally:
            await proxy.close()
            await runner.cleanup()


def kubeconfig_for(server: str) -> dict[str, Any]:
    """A kubeconfig without credentials: the proxy has them."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
    }
