"""Pages in a browser: which may have requests sent to this server.

A browser lets any page send simple requests to any address, also to one that only its own machine reaches,
and adds the credentials that it knows; it only hides the answer. And a page whose name was made to lead to
this machine (DNS rebinding) counts as the server's own. What is no browser sends no Origin, and is not
concerned.
"""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sd_runtime.guards.refusal import refusal

#: Methods that change nothing; what they answer, the browser keeps from pages of other origins by itself.
_READING = ("GET", "HEAD", "OPTIONS")
#: Of Sec-Fetch-Site, which no page can set: the server's own pages, and a person at the address bar.
_OWN = ("same-origin", "none")
_REMEDY = "SD_CORS_ORIGINS (--cors-origins) names further ones"


class Origins:
    """ASGI middleware: 403 for what pages of other origins than the server's own and `allowed` would change;
    "*" allows all of them."""

    def __init__(self, app: ASGIApp, *, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = frozenset(each.rstrip("/").lower() for each in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            stranger = self._stranger(Headers(scope=scope))
            if stranger is not None:
                sentence = (
                    f"Origin: {stranger[:100]!r} is not accepted; allowed: pages of this server; {_REMEDY}"
                )
                await refusal(403, "ForeignOrigin", sentence)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _stranger(self, headers: Headers) -> str | None:
        """The origin that may not; None where it may."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if "*" in self._allowed or site in _OWN:
            return None
        if origin is None:
            return None if site is None else f"({site})"
        known = origin.lower() in self._allowed or _authority(origin) == headers.get("host", "").lower()
        return None if known else origin


class KnownHosts:
    """ASGI middleware for a server that only its own machine reaches and that asks for no credentials: 403
    where the Host is neither this machine nor one of `names` (None: there can be no further ones)."""

    def __init__(self, app: ASGIApp, *, names: Collection[str] | None = None) -> None:
        self._app = app
        self._allowed = "names of this machine" + ("" if names is None else f"; {_REMEDY}")
        self._names = frozenset(each.lower() for each in names or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            if not leads_here(host) and _name_of(host) not in self._names:
                sentence = f"Host: {host[:100]!r} is not accepted; allowed: {self._allowed}"
                await refusal(403, "ForeignHost", sentence)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def hosts_of(origins: Collection[str]) -> list[str]:
    """The hosts of these origins, without ports."""
    return [_name_of(_authority(each)) for each in origins]


def is_loopback(host: str) -> bool:
    """Whether a name or an address leads to the machine itself, and cannot lead elsewhere."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def leads_here(host: str) -> bool:
    """Whether a Host header has a name of the machine itself; of old clients, which send none, it is taken to
    be so: a browser always sends one."""
    name = _name_of(host)
    return not name or is_loopback(name)


def _authority(origin: str) -> str:
    """Host and port as an origin has them; "" for one that has none (`null`)."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name_of(authority: str) -> str:
    """Without the port, and an IPv6 address without its brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.partition(":")[0].lower()
