"""One download: attempts at getting the bytes of a location into a partial file, through the gate.

Each attempt goes on where the last one ended when the source allows it (Range with If-Range) and starts over
when it does not. Memory stays at a few chunks whatever the size of the file. Knows nothing of manifests and
of models/.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from sd_modelfiles.family import Family
from sd_operator.fetch import answers, errors
from sd_operator.fetch.answers import Answer
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.gate import Gate
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.sources import Location
from sd_operator.fetch.stopping import Stop

_TIMEOUT = httpx.Timeout(60.0, connect=20.0)
_REPORT_SECONDS = 10.0

log = logging.getLogger(__name__)


def new_client(location: Location, *, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client for one location: follows redirects, but never from https to http."""

    def refuse_downgrade(request: httpx.Request) -> None:
        if location.url.startswith("https:") and request.url.scheme != "https":
            raise FetchError(
                errors.SOURCE_REFUSED,
                f"{location.identity} redirects from https to {request.url.scheme}://{request.url.host}; "
                "give an address that stays on https",
            )

    return httpx.Client(
        follow_redirects=True,
        max_redirects=10,
        timeout=_TIMEOUT,
        # No coding: offsets, sizes and hashes are those of the file. Whatever else httpx accepts is not asked
        # for.
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "sd-operator-fetch"},
        transport=transport,
        event_hooks={"request": [refuse_downgrade]},
    )


class Download:
    """The state that attempts share: the partial file, and the gate its bytes passed."""

    def __init__(
        self,
        *,
        client: httpx.Client,
        location: Location,
        partial: Partial,
        new_gate: Callable[[], Gate],
        folder: Path,
        stop: Stop,
    ) -> None:
        self._client = client
        self._location = location
        self._partial = partial
        self._new_gate = new_gate
        self._folder = folder  # on the volume whose free space counts
        self._stop = stop
        self._gate = new_gate()

    def take_up(self) -> None:
        """Hash what an earlier process left, through the gate again: the wanted family may be another."""
        for chunk in self._partial.contents():
            self._stop.check()
            self._gate.feed(chunk)
        if self._partial.offset:
            log.info("going on from byte %d of an earlier download", self._partial.offset)

    def attempt(self) -> None:
        """Bring the file to its end, or raise FetchError; what was received is kept for the next attempt."""
        if self._is_whole():
            return
        if self._partial.offset and self._partial.notes.etag is None:
            self._restart()
        with self._answered() as (response, answer):
            self._prepare(answer)
            self._receive(response, answer.total)
        self._gate.finish()
        self._check_size(self._partial.offset)

    def family(self) -> Family:
        """The family of a whole download."""
        assert self._gate.family is not None
        return self._gate.family

    def progress(self) -> int:
        return self._partial.offset

    @contextmanager
    def _answered(self) -> Iterator[tuple[httpx.Response, Answer]]:
        """Ask for the missing bytes; errors of HTTP, here and while the body is read, become FetchErrors."""
        headers = {}
        if self._partial.offset:
            headers = {"Range": f"bytes={self._partial.offset}-", "If-Range": self._partial.notes.etag or ""}
        source = self._location.identity
        body = False
        try:
            with self._client.stream("GET", self._location.url, headers=headers) as response:
                if response.status_code == 416 and headers:
                    self._restart()
                    raise FetchError(
                        errors.SERVER_ERROR, f"{source} would not go on; starting over", retryable=True
                    )
                answer = answers.understand(response, self._location)
                body = True
                yield response, answer
        except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise FetchError(
                errors.SOURCE_REFUSED, f"{source} redirects to where no file can be got: {_kind(error)}"
            ) from error
        except httpx.RemoteProtocolError as error:
            if body:
                raise FetchError(
                    errors.TRUNCATED,
                    f"{source} ended the body after byte {self._partial.offset}, before the file's end",
                    retryable=True,
                ) from error
            raise FetchError(
                errors.SERVER_ERROR, f"{source} does not answer in HTTP: {_kind(error)}", retryable=True
            ) from error
        except httpx.TransportError as error:
            when = f"lost at byte {self._partial.offset}" if body else "not made"
            raise FetchError(
                errors.CONNECTION_FAILED,
                f"the connection to {source} was {when}: {_kind(error)}",
                retryable=True,
            ) from error

    def _prepare(self, answer: Answer) -> None:
        """Make the partial file fit the answer: go on, or start over."""
        partial = self._partial
        changed = answer.etag not in (None, partial.notes.etag)
        if answer.start != partial.offset or (partial.offset and changed):
            self._restart()
            if answer.start != 0:
                raise FetchError(
                    errors.SERVER_ERROR,
                    f"{self._location.identity} went on with other bytes than were asked for; starting over",
                    retryable=True,
                )
        if answer.total is not None:
            self._check_size(answer.total)
            self._check_space(answer.total - partial.offset)
        partial.begin(
            etag=answer.etag or (partial.notes.etag if partial.offset else None), version=answer.version
        )

    def _receive(self, response: httpx.Response, total: int | None) -> None:
        reported = time.monotonic()
        # As the pieces arrive (64 KiB at most): nothing waits in memory that a lost connection would cost.
        for chunk in response.iter_raw():
            self._stop.check()
            had_header = self._gate.header is not None
            self._gate.feed(chunk)
            if not had_header and total is not None:
                self._check_size(total)
            self._partial.write(chunk)
            if time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                log.info("%d of %s bytes", self._partial.offset, "unknown" if total is None else total)

    def _check_size(self, size: int) -> None:
        """Hold a size, the source's word or the bytes in hand, against the one the header promises."""
        if self._gate.header is None:
            return
        promised = self._gate.header.file_size
        if size < promised:
            raise FetchError(
                errors.TRUNCATED,
                f"{self._location.identity} serves {size} bytes, the file's header promises {promised}",
                retryable=True,
            )
        if size > promised:
            raise FetchError(
                errors.FORMAT_REFUSED,
                f"the file is not valid safetensors: it has {size} bytes, its header promises {promised}",
            )

    def _check_space(self, needed: int) -> None:
        state = os.statvfs(self._folder)
        free = state.f_bavail * state.f_frsize
        if needed > free:
            raise errors.no_space(f"{needed} bytes are still to be fetched, the volume has {free} bytes free")

    def _is_whole(self) -> bool:
        return self._gate.header is not None and self._partial.offset == self._gate.header.file_size

    def _restart(self) -> None:
        self._partial.restart()
        self._gate = self._new_gate()


def _kind(error: Exception) -> str:
    """What happened, in httpx's words, which name hosts at most."""
    return f"{type(error).__name__}: {error}"[:200]
