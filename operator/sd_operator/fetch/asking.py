"""One GET for bytes of a file, and how its body is read.

Every error of the way there is a FetchError by the time it leaves here. Knows nothing of what becomes of the
bytes.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from sd_operator.fetch import errors, network
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import Span
from sd_operator.fetch.pace import Pace
from sd_operator.fetch.patience import Patience
from sd_operator.fetch.sources import Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A source's location, and the client to ask there. Threads may share it."""

    client: httpx.Client
    location: Location
    patience: Patience

    def send(
        self,
        span: Span | None = None,
        *,
        etag: str | None = None,
        to: "Place | None" = None,
        pace: Pace | None = None,
    ) -> httpx.Response:
        """The answer to a GET, its body unread; for a span if the file is still the etag's. To be closed.

        With a pace the time that the source takes to answer counts, too.
        """
        headers = {}
        if span is not None:
            headers["Range"] = f"bytes={span.start}-{span.end - 1}"
            if etag is not None:
                headers["If-Range"] = etag
        url, extensions = (self.location.url, None) if to is None else (to.url, dict(to.extensions))
        request = self.client.build_request("GET", url, headers=headers, extensions=extensions)
        asked = time.monotonic()
        with network.failing(self.location.identity):
            response = self.client.send(request, stream=True)
        if pace is not None and not pace.keeps(0, time.monotonic() - asked):
            response.close()
            raise self._too_slow(pace)
        return response

    def pace(self) -> Pace:
        """What is asked of one connection."""
        return Pace(least=self.patience.slowest_rate, window=self.patience.slow_seconds)

    def chunks(
        self,
        response: httpx.Response,
        *,
        reached: Callable[[], int],
        limit: int | None = None,
        pace: Pace | None = None,
    ) -> Iterator[bytes]:
        """The body as it arrives (64 KiB at most at a time): nothing waits that a lost connection would cost.

        With a limit no more bytes than that: what a server sends beyond what it was asked for is left.
        """
        pace = pace or self.pace()
        body = response.iter_raw()
        left = limit
        # A body that ends where it should is read to its end, which leaves the connection for the next.
        exact = limit is None or response.headers.get("content-length") == str(limit)
        while left != 0 or exact:
            asked = time.monotonic()
            with network.failing(self.location.identity, received=reached):
                chunk = next(body, None)
            if chunk is None:
                return
            if not pace.keeps(len(chunk), time.monotonic() - asked):
                raise self._too_slow(pace)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            yield chunk

    def _too_slow(self, pace: Pace) -> FetchError:
        return FetchError(
            errors.TIMEOUT,
            f"{self.location.identity} sent fewer than {pace.least:.0f} bytes per second over "
            f"{pace.window:.0f} s",
            retryable=True,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where redirects led, and what the client knows of the way there: it may be asked again without it."""

    url: str  # may hold a signature
    extensions: Mapping[str, Any]

    @classmethod
    def of(cls, response: httpx.Response) -> "Place":
        return cls(str(response.url), response.request.extensions)


class Lines:
    """The connections that are being read, so that who waits for one of them can be woken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[httpx.Response] = set()
        self._cut = False

    @contextmanager
    def reading(self, response: httpx.Response) -> Iterator[None]:
        with self._lock:
            if self._cut:
                _hang_up(response)
            self._open.add(response)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(response)

    def cut(self) -> None:
        """End them all, and those that are begun after this."""
        with self._lock:
            self._cut = True
            for response in self._open:
                _hang_up(response)


def _hang_up(response: httpx.Response) -> None:
    stream = response.extensions.get("network_stream")
    found = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(found, socket.socket):
        try:
            # The socket's own: that of TLS would take its state away from the thread that reads.
            socket.socket.shutdown(found, socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already
