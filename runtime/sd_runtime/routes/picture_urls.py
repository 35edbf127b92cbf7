"""Pictures that a request names by URL, fetched from public addresses only.

A name is looked up once, and what was checked is what is connected to; a redirect is a new address to check.
Certificates are held against the name as ever. Knows nothing of pictures.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import anyio
import httpcore
import httpx

from sd_runtime.routes import addresses

#: Of one picture, from looking the name up to the last byte.
SECONDS = 20.0
_MOST_REDIRECTS = 3
_MOST_PORT = 65_535
_REDIRECTS = (301, 302, 303, 307, 308)
#: Compressed answers are refused by asking for none: a small one could become a huge picture file.
_HEADERS = (("Accept", "image/*"), ("Accept-Encoding", "identity"), ("User-Agent", "sd-runtime"))

#: Looks a name up: the addresses of a host, as text.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
#: Why an address may not be connected to; None when it may.
Judge = Callable[[str], str | None]


class FetchError(Exception):
    """The picture was not got; the message is what was the matter with the URL, and names no address that
    the client does not know."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, each once, in the system's order."""
    # The dot keeps the resolver from trying the cluster's own domains after the name.
    absolute = host if _is_address(host) else f"{host.rstrip('.')}."
    # In a thread of its own: the system's patience with a slow name server is long, and the loop's few
    # threads have other work.
    found = await anyio.to_thread.run_sync(
        partial(socket.getaddrinfo, absolute, port, type=socket.SOCK_STREAM),
        abandon_on_cancel=True,
        limiter=anyio.CapacityLimiter(1),
    )
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


async def fetch(
    url: str,
    *,
    max_bytes: int,
    seconds: float = SECONDS,
    resolver: Resolver = look_up,
    judge: Judge = addresses.complaint,
) -> bytes:
    """The body that the URL leads to; raises `FetchError`."""
    backend = _CheckedBackend(resolver, judge)
    try:
        async with (
            asyncio.timeout(seconds),
            httpcore.AsyncConnectionPool(network_backend=backend, retries=0) as pool,
        ):
            return await _follow(pool, _parsed(url), max_bytes)
    except TimeoutError:
        raise FetchError(f"it took more than {seconds:g} seconds") from None
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise FetchError(f"it cannot be fetched ({type(error).__name__})") from error
    # What else the many hands between a URL and a socket make of one that is strange: it is the client's, or
    # a foreign server's, and no defect of this one.
    except (OSError, ValueError, ArithmeticError, ExceptionGroup) as error:
        raise FetchError("it cannot be fetched") from error


async def _follow(pool: httpcore.AsyncConnectionPool, url: httpx.URL, max_bytes: int) -> bytes:
    for _ in range(_MOST_REDIRECTS + 1):
        async with pool.stream("GET", _for_httpcore(url), headers=_HEADERS) as response:
            if response.status not in _REDIRECTS:
                return await _body(response, max_bytes)
            location = httpx.Headers(response.headers).get("location", "")
        try:
            url = _parsed(str(url.join(location)))
        except (httpx.InvalidURL, ValueError) as error:
            raise FetchError("it redirects to what is no URL") from error
    raise FetchError(f"it redirects more than {_MOST_REDIRECTS} times")


async def _body(response: httpcore.Response, max_bytes: int) -> bytes:
    if response.status != 200:
        raise FetchError(f"the server answered with status {response.status}")
    received = bytearray()
    async for piece in response.aiter_stream():
        received += piece
        if len(received) > max_bytes:
            raise FetchError(f"it is larger than {max_bytes} bytes")
    return bytes(received)


def _parsed(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
        host, port = url.host, url.port
    # UnicodeError, which idna's is, among the latter.
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError("it is no URL") from error
    if url.scheme not in ("http", "https") or not host:
        raise FetchError("it leads to something else than http or https")
    if port is not None and not 1 <= port <= _MOST_PORT:
        raise FetchError(f"its port is not one from 1 to {_MOST_PORT}")
    if url.userinfo:
        raise FetchError("it holds a user name or password, which is not served")
    if complaint := addresses.complaint_of_name(host):
        raise FetchError(f"its host is {complaint}")
    return url


def _for_httpcore(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to addresses that pass the check, for httpcore's pool."""

    def __init__(self, resolver: Resolver, judge: Judge) -> None:
        self._resolver = resolver
        self._judge = judge
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise FetchError("its host cannot be looked up") from error
        # All of them, not those that pass: whoever mixes them plays with the order.
        for address in found:
            if complaint := self._judge(address):
                raise FetchError(f"its host leads to {complaint}")
        failure: Exception = FetchError("its host has no address")
        for address in found:
            try:
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise FetchError("it leads to a socket of the server itself")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
