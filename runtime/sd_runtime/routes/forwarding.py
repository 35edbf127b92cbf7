"""What was asked of this replica and is another's to answer: who the others are, and passing it on.

Only addresses to which the service's own name leads are ever spoken to, so nobody can have this server
reach others by a made-up id; and what was passed on once is never passed on again.
"""

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sd_runtime.errors import SdError
from sd_runtime.jobs import identity

logger = logging.getLogger(__name__)

#: Says that another replica passed the request on.
HOP = "x-sd-forwarded"
_REQUEST_HEADERS = ("authorization", "content-type", "accept", "idempotency-key", "last-event-id")
_ANSWER_HEADERS = (
    "content-type",
    "content-length",
    "location",
    "retry-after",
    "cache-control",
    "x-accel-buffering",
)
_KEPT_CONNECTIONS = 20
#: Seconds that the addresses behind the name are taken to be the same.
_FRESH_SECONDS = 2.0
#: A stream of events tells something every 15 seconds; all other answers are quicker.
_TIMEOUT = httpx.Timeout(60.0, connect=2.0)

#: The addresses that a name leads to, in their shortest form; raises `OSError`.
Resolve = Callable[[str], Awaitable[frozenset[str]]]
#: An event loop's `getaddrinfo`.
LookUp = Callable[..., Awaitable[list[Any]]]


class ReplicaGone(SdError):
    """The replica that had a job does not exist any more, and what it knew is lost."""

    reason = "ReplicaGone"


class ReplicaUnreachable(SdError):
    """The replica whose turn it is does not answer now, or it is not known whether it exists."""

    reason = "ReplicaUnreachable"


#: A name that nobody has: where one replica is wanted, none that leads to all of them is made.
_NOBODYS = tuple(getattr(socket, each) for each in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, each))


async def resolve(name: str, look_up: LookUp | None = None) -> frozenset[str]:
    """As the system does, of both families; a name that does not exist leads to no address. Raises `OSError`
    where it cannot be told."""
    try:
        found = await (look_up or asyncio.get_running_loop().getaddrinfo)(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno not in _NOBODYS:
            raise
        return frozenset()
    return frozenset(str(ip_address(address[0])) for *_, address in found)


class Peers:
    """The replicas of this service; without a name there is only this one."""

    def __init__(
        self,
        *,
        name: str,
        own: str,
        port: int,
        resolve: Resolve = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.own = identity.replica_called(own)
        self._name = name
        self._port = port
        self._resolve = resolve
        self._clock = clock
        self._others: frozenset[str] = frozenset()
        self._resolved_at: float | None = None
        # Made on first use: it belongs to the running loop.
        self._client: httpx.AsyncClient | None = None

    async def owner(self, job: str) -> str | None:
        """Address of the other replica that has the job; None: it is this one's, or nobody's. Raises
        `ReplicaGone` and `ReplicaUnreachable`."""
        replica = identity.replica_of(job)
        if not replica or replica == self.own or not self._name:
            return None
        address = identity.address_of(replica)
        if address not in await self._known():
            raise ReplicaGone(
                f"the replica that had this job ({address}) is gone, and the job with it; send it again"
            )
        return address

    async def in_order_for(self, client_id: str) -> list[str]:
        """Addresses of the replicas as they are responsible for a client's id, "" for this one: by rendezvous
        hashing (Thaler and Ravishankar 1998), so that all agree while they know the same replicas. Raises
        `ReplicaUnreachable`."""
        if not self._name:
            return [""]
        replicas = {identity.replica_called(address): address for address in await self._known()}
        replicas[self.own] = ""
        order = sorted(replicas, key=lambda each: _weight(each, client_id), reverse=True)
        return [replicas[each] for each in order]

    async def forward(self, request: Request, address: str) -> "PassedOn":
        """The answer of that replica to the same request, as it comes; raises `ReplicaUnreachable`."""
        if self._client is None:
            # The replicas speak to each other directly, whatever the environment says of proxies.
            # No bound on connections: those who watch jobs keep one each, and how many there are is bounded
            # at the door.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS)
            self._client = httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, trust_env=False)
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        asked = self._client.build_request(
            request.method,
            httpx.URL(scheme="http", host=address, port=self._port, path=request.url.path),
            headers=headers | {HOP: self.own, "accept-encoding": "identity"},
            params=request.url.query,
            content=await request.body(),
        )
        try:
            answer = await self._client.send(asked, stream=True)
        except httpx.HTTPError as error:
            logger.warning("a replica does not answer: %s", error, extra={"replica": address})
            sentence = f"the replica {address} does not answer now; try again shortly"
            raise ReplicaUnreachable(sentence) from error
        return PassedOn(answer)

    async def close(self) -> None:
        """Ends all connections to others."""
        if self._client is not None:
            await self._client.aclose()

    async def _known(self) -> frozenset[str]:
        """The addresses of the others, not older than a moment."""
        now = self._clock()
        if self._resolved_at is None or now - self._resolved_at > _FRESH_SECONDS:
            try:
                self._others = await self._resolve(self._name)
            except OSError as error:
                logger.warning("the other replicas are not known: %s", error, extra={"peers": self._name})
                sentence = f"the name {self._name} of the replicas cannot be resolved now; try again shortly"
                raise ReplicaUnreachable(sentence) from error
            self._resolved_at = now
        return frozenset(each for each in self._others if identity.replica_called(each) != self.own)


def was_forwarded(request: Request) -> bool:
    """Whether another replica passed the request on."""
    return HOP in request.headers


class PassedOn(StreamingResponse):
    """Another's answer, passed on while it comes."""

    def __init__(self, answer: httpx.Response) -> None:
        headers = {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}
        super().__init__(answer.aiter_raw(), status_code=answer.status_code, headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()

    async def drop(self) -> None:
        """Nobody will read it."""
        await self._answer.aclose()


def _weight(replica: str, client_id: str) -> bytes:
    return hashlib.sha256(f"{replica}|{client_id}".encode()).digest()
