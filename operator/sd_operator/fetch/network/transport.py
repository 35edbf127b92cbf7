"""How a request gets to its host: directly or by a proxy, over a pool of checked connections.

Knows nothing of credentials, nor of following redirects.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import httpcore
import httpx

from sd_operator.fetch.network.addresses import Policy
from sd_operator.fetch.network.backend import (
    CheckedBackend,
    Connection,
    Deadline,
    Resolver,
    look_up,
    refused,
)
from sd_operator.fetch.network.proxies import Proxies

# How long the head of an answer may take, from the name to its last byte, however steadily it trickles.
HEAD_SECONDS = 100.0
# How long a connection is kept for the next request.
_IDLE_SECONDS = 30.0
# So much of a redirect's body is read to keep its connection; it is shown to nobody.
_REDIRECT_BODY_BYTES = 64 * 1024

# httpx names its errors as httpcore does.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.ProxyError, httpx.ProxyError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
)


class CheckedTransport(httpx.BaseTransport):
    """httpx's way to the network, over httpcore's pools with our own connections."""

    def __init__(
        self,
        *,
        policy: Policy,
        proxies: Proxies,
        trust: ssl.SSLContext,
        head_seconds: float = HEAD_SECONDS,
        resolver: Resolver = look_up,
    ) -> None:
        self._policy = policy
        self._proxies = proxies
        self._trust = trust
        self._head_seconds = head_seconds
        self._deadline = Deadline()
        self._backend = CheckedBackend(policy, self._deadline, resolver=resolver)
        self._direct = self._pool(None)
        proxied = {each for each in (proxies.http, proxies.https) if each is not None}
        self._pools = {each: self._pool(each) for each in proxied}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=dict(request.extensions),
        )
        pool = self._pool_for(request.url)
        with _as_httpx(), self._deadline.within(self._head_seconds):
            answered = pool.handle_request(asked)
            response = httpx.Response(
                answered.status,
                headers=answered.headers,
                stream=_Body(answered),
                extensions=dict(answered.extensions),
            )
            if response.has_redirect_location:
                _empty(answered)
                response.stream = httpx.ByteStream(b"")
        return response

    def __enter__(self) -> "CheckedTransport":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for pool in (self._direct, *self._pools.values()):
            pool.close()

    def _pool_for(self, url: httpx.URL) -> httpcore.ConnectionPool:
        host = url.raw_host.decode()
        proxy = self._proxies.of(url.scheme, host, url.port)
        if proxy is None:
            return self._direct
        # The proxy looks names up, out of our sight; what needs no looking up is judged here.
        complaint = self._policy.complaint_of_host(host)
        if complaint is not None:
            raise refused(host, f"is {complaint}")
        return self._pools[proxy]

    def _pool(self, proxy: str | None) -> httpcore.ConnectionPool:
        # Without limits: a fetch has few threads, each with one request at a time. To keep to a limit, the
        # pool would close idle connections, one of which another thread may just have been given.
        if proxy is None:
            return httpcore.ConnectionPool(
                ssl_context=self._trust,
                max_connections=None,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=self._backend,
            )
        url = httpx.URL(proxy)
        user = (url.username.encode(), url.password.encode())
        secure = url.scheme == "https"
        return httpcore.HTTPProxy(
            httpcore.URL(
                scheme=url.raw_scheme,
                host=url.raw_host,
                port=url.port or (443 if secure else 80),
                target=b"/",
            ),
            proxy_auth=user if url.userinfo else None,
            ssl_context=self._trust,
            proxy_ssl_context=self._trust if secure else None,
            max_connections=None,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend,
        )


class _Body(httpx.SyncByteStream):
    """The body of an answer; its errors are httpx's."""

    def __init__(self, answered: httpcore.Response) -> None:
        self._answered = answered

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._answered.iter_stream()

    def close(self) -> None:
        with _as_httpx():
            _done(self._answered)


def _done(answered: httpcore.Response) -> None:
    connection = answered.extensions.get("network_stream")
    if isinstance(connection, Connection):
        connection.rest()
    answered.close()


def _empty(answered: httpcore.Response) -> None:
    """Read a body that nobody wants, or drop the connection when that is too long."""
    length = 0
    try:
        for piece in answered.iter_stream():
            length += len(piece)
            if length > _REDIRECT_BODY_BYTES:
                break
    finally:
        _done(answered)


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for known, meant in _ERRORS:
            if isinstance(error, known):
                raise meant(str(error)) from error
        raise
