"""The one HTTP client of a fetch: its manners, its credentials, and where it lets itself be redirected."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from sd_operator.fetch import errors
from sd_operator.fetch.credentials import Credentials
from sd_operator.fetch.network import trust
from sd_operator.fetch.network.addresses import Policy
from sd_operator.fetch.network.backend import Resolver, look_up
from sd_operator.fetch.network.failing import Refusal
from sd_operator.fetch.network.proxies import Proxies
from sd_operator.fetch.network.transport import CheckedTransport
from sd_operator.fetch.settings import Settings

_TIMEOUT = httpx.Timeout(60.0, connect=20.0)
_MAX_REDIRECTS = 10
# What hops pass on to the next one: where the first one went, and whether all were encrypted so far.
_FIRST = "sd_operator.first"
_SECURE = "sd_operator.secure"
# Which Secret a request was sent with.
_SECRET = "sd_operator.secret"
# Set where a host gets no credentials, whatever Secrets there are.
_WITHHELD = "sd_operator.withheld"

# Of a name and of each part between its dots, in DNS.
_NAME_LENGTH, _LABEL_LENGTH = 253, 63


@contextmanager
def open_client(
    settings: Settings, credentials: Credentials, *, resolver: Resolver = look_up
) -> Iterator[httpx.Client]:
    """A client that several threads may use at once, within `failing`."""
    transport = CheckedTransport(
        policy=Policy(allowed=settings.allowed_networks, refused=settings.refused_networks),
        proxies=Proxies(http=settings.http_proxy, https=settings.https_proxy, none_for=settings.no_proxy),
        trust=trust.context(settings.ca_file),
        resolver=resolver,
    )
    with httpx.Client(
        transport=transport,
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=_TIMEOUT,
        # No coding: offsets, sizes and hashes are those of the file.
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "sd-operator-fetch"},
        # Nothing is kept from one answer to the next.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        event_hooks={"request": [_Hop(credentials)]},
        trust_env=False,
    ) as client:
        yield client


def secret_of(response: httpx.Response) -> str | None:
    """The Secret with which the request of an answer was sent; None: without credentials."""
    found = response.request.extensions.get(_SECRET)
    return found if isinstance(found, str) else None


def were_withheld(response: httpx.Response) -> bool:
    """Whether credentials are kept from the host of an answer: a redirect led there over plain http."""
    return _WITHHELD in response.request.extensions


class _Hop:
    """Called before each request, also before each that a redirect leads to."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: httpx.Request) -> None:
        url, known = request.url, request.extensions
        # As DNS and Secrets have it: xn--… and not the letters it stands for.
        host = url.raw_host.decode()
        if url.scheme not in ("http", "https") or not host:
            raise Refusal(
                errors.SOURCE_REFUSED,
                f"it redirects to an address of scheme {url.scheme[:20]!r}; only http and https are followed",
            )
        _check_name(host)
        if url.port is not None and not 0 < url.port < 65536:
            raise Refusal(errors.SOURCE_REFUSED, f"it leads to port {url.port}, which there is not")
        if known.get(_SECURE) and url.scheme != "https":
            raise Refusal(
                errors.SOURCE_REFUSED,
                f"it redirects from https to http://{host}; give an address that stays on https",
            )
        first = known.setdefault(_FIRST, host)
        known[_SECURE] = url.scheme == "https"
        # Whatever an earlier hop had: each host gets its own, or nothing.
        request.headers.pop("Authorization", None)
        known.pop(_SECRET, None)
        known.pop(_WITHHELD, None)
        if url.scheme == "https" or host == first:
            self._authorize(request, host)
        else:
            known[_WITHHELD] = True

    def _authorize(self, request: httpx.Request, host: str) -> None:
        found = self._credentials.find(request.url.scheme, host, request.url.port)
        header = found.header() if found is not None else None
        if found is not None and header is not None:
            request.headers["Authorization"] = header
            request.extensions[_SECRET] = found.secret


def _check_name(host: str) -> None:
    """Names that DNS cannot have: a proxy would be asked for them, and TLS ends in an error of its own."""
    name = host.removesuffix(".")
    if ":" in name:
        return  # an IPv6 address
    if len(name) > _NAME_LENGTH or not all(0 < len(label) <= _LABEL_LENGTH for label in name.split(".")):
        raise Refusal(errors.DNS, f"the host {host[:100]!r} is no name of a host; check the address")
