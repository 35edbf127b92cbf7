"""The bytes of an opened source, by several connections at once where it allows that.

Each connection takes the next span that is missing. One that fails gives its span back and ends, and the
others go on: a source that bears two connections is fetched by two. What makes the bytes in hand worthless,
or is no fault of the connection, ends them all.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing

import httpx

from sd_operator.fetch import answers, errors
from sd_operator.fetch.asking import Lines
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import Span
from sd_operator.fetch.partial import Withdrawn, Writer
from sd_operator.fetch.probe import Changed, Opening, check_range

# What the address a redirect led to answers when its signature has expired.
_EXPIRED = (401, 403, 410)


class Streams:
    """The connections of one attempt. Its methods run in threads of their own."""

    def __init__(
        self,
        opening: Opening,
        *,
        writer: Writer,
        missing: Sequence[Span],
        total: int | None,
        received: Callable[[int], None],
    ) -> None:
        self._opening = opening
        self._asking = opening.asking
        self._identity = opening.asking.location.identity
        self._writer = writer
        self._total = total
        self._received = received
        self._spans = deque(missing)
        self._lock = threading.Lock()
        self._lines = Lines()
        self._failures: list[FetchError] = []

    def works(self, connections: int) -> list[Callable[[], None]]:
        """What the threads of this attempt have to do."""
        if self._opening.response is not None:
            return [self._read_on]
        return [self._take_spans] * min(connections, len(self._spans))

    def end(self) -> None:
        """Nothing is written after this."""
        self._lines.cut()
        self._writer.withdraw()

    def failure(self) -> FetchError | None:
        """The failure of a connection; others may have made up for it."""
        # The one that says when to come back, if any does.
        return max(self._failures, key=lambda failure: failure.retry_after or 0.0, default=None)

    def _read_on(self) -> None:
        """Of a source without ranges: all that follows, in one answer."""
        opening, response = self._opening, self._opening.response
        assert response is not None
        total = self._total
        try:
            with self._lines.reading(response):
                for chunk in opening.body():
                    if total is not None and opening.reached + len(chunk) > total:
                        raise FetchError(
                            errors.FORMAT_REFUSED,
                            f"the file is not valid safetensors: {self._identity} serves more than the "
                            f"{total} bytes that its header promises",
                        )
                    self._write(opening.reached, chunk)
                    opening.reached += len(chunk)
        except Withdrawn:
            return
        except FetchError as failure:
            if not failure.retryable:
                raise
            self._failures.append(failure)
        if total is not None and opening.reached < total and not self._failures:
            self._failures.append(self._truncated(opening.reached))

    def _take_spans(self) -> None:
        while (span := self._next()) is not None:
            reached = [span.start]
            try:
                self._fetch(span, reached)
            except Withdrawn:
                return
            except FetchError as failure:
                if not failure.retryable or isinstance(failure, Changed):
                    raise
                self._give_back(Span(reached[0], span.end), failure)
                return

    def _fetch(self, span: Span, reached: list[int]) -> None:
        opening = self._opening
        with (
            closing(self._asking.send(span, etag=opening.answer.etag, to=opening.place)) as response,
            self._lines.reading(response),
        ):
            self._check(response, span)
            for chunk in self._asking.chunks(
                response, reached=lambda: reached[0], limit=span.end - span.start
            ):
                self._write(reached[0], chunk)
                reached[0] += len(chunk)
        if reached[0] < span.end:
            raise self._truncated(reached[0])

    def _check(self, response: httpx.Response, span: Span) -> None:
        """Whether the answer is for these bytes of this file."""
        opening, location = self._opening, self._asking.location
        if response.status_code == 416:
            raise Changed(self._identity, "has no bytes where an earlier answer had some")
        try:
            found = answers.understand(response, location)
        except FetchError as failure:
            # It let us in a moment ago: the address, or the credential, has been replaced since.
            if response.status_code in _EXPIRED:
                failure.retryable = True
            raise
        if response.status_code == 200 and found.etag == opening.answer.etag:
            raise FetchError(
                errors.SERVER_ERROR,
                f"{self._identity} sent the whole file, asked for a range",
                retryable=True,
            )
        check_range(found, span, opening.answer, self._identity)

    def _write(self, offset: int, chunk: bytes) -> None:
        self._writer.write(offset, chunk)
        self._received(len(chunk))

    def _next(self) -> Span | None:
        with self._lock:
            return self._spans.popleft() if self._spans else None

    def _give_back(self, span: Span, failure: FetchError) -> None:
        with self._lock:
            self._failures.append(failure)
            if span.start < span.end:
                self._spans.appendleft(span)

    def _truncated(self, reached: int) -> FetchError:
        return FetchError(
            errors.TRUNCATED,
            f"{self._identity} ended the body after byte {reached}, before the file's end",
            retryable=True,
        )
