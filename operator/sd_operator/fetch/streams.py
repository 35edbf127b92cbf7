"""The bytes of an opened source, by several connections at once where it allows that.

Each connection brings one missing span after the other. One that fails leaves its rest to the others: a
source that bears two connections is fetched by two. What makes the bytes in hand worthless, or is no fault of
the connection, ends them all.
"""

from collections.abc import Callable, Sequence
from contextlib import closing

import httpx

from sd_operator.fetch import answers, errors
from sd_operator.fetch.asking import Lines
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import Span
from sd_operator.fetch.partial import Withdrawn, Writer
from sd_operator.fetch.probe import Changed, Opening, check_range, end_of, no_such_range
from sd_operator.fetch.supply import Claim, Supply

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
        self._supply = Supply(missing)
        self._lines = Lines()
        self._failures: list[FetchError] = []

    def works(self, connections: int) -> list[Callable[[], None]]:
        """What the threads of this attempt have to do."""
        if self._opening.response is not None:
            return [self._read_on]
        return [self._bring_spans] * min(connections, len(self._supply))

    def end(self) -> None:
        """Nothing is written after this."""
        self._supply.end()
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

    def _bring_spans(self) -> None:
        """One connection after the other, until one fails or nothing is missing."""
        pace = 0.0
        while (claim := self._supply.claim(pace)) is not None:
            try:
                self._bring(claim)
            except Withdrawn:
                return
            except FetchError as failure:
                if not failure.retryable or isinstance(failure, Changed):
                    raise
                # Where another connection took over, this one has nothing left to fail at.
                if not claim.is_done:
                    self._failures.append(failure)
                    return
            finally:
                self._supply.settle(claim)
            pace = claim.rate()

    def _bring(self, claim: Claim) -> None:
        """In one answer; in several, of a source that sends fewer bytes at a time."""
        opening, asking = self._opening, self._asking
        etag, place, pace = opening.answer.etag, opening.place, asking.pace()
        while (span := claim.rest()).start < span.end:
            with (
                closing(asking.send(span, etag=etag, to=place, pace=pace)) as response,
                self._lines.reading(response),
            ):
                end = self._check(response, span)
                for chunk in asking.chunks(
                    response, reached=lambda: claim.reached, limit=end - span.start, pace=pace
                ):
                    if not claim.bring(chunk, self._write):
                        return
            if not claim.is_done and claim.reached < end:
                raise self._truncated(claim.reached)

    def _check(self, response: httpx.Response, span: Span) -> int:
        """Hold the answer against the bytes of this file that it was asked for; where it ends."""
        opening, location = self._opening, self._asking.location
        if response.status_code == 416:
            raise no_such_range(response, opening.answer.total, self._identity)
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
        return end_of(response, span)

    def _write(self, offset: int, chunk: bytes) -> None:
        self._writer.write(offset, chunk)
        self._received(len(chunk))

    def _truncated(self, reached: int) -> FetchError:
        return FetchError(
            errors.TRUNCATED,
            f"{self._identity} ended the body after byte {reached}, before the file's end",
            retryable=True,
        )
