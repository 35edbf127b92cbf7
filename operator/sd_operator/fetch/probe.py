"""What a source serves, asked before a byte is stored: size, etag, version, ranges, and the beginning.

The bytes that the question brings are used, so that nothing is downloaded twice. A source without ranges
answers with the whole file: its answer stays open and is read on.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import httpx

from sd_operator.fetch import answers, errors
from sd_operator.fetch.answers import Answer
from sd_operator.fetch.asking import Asking, Place
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import Span

HEAD_BYTES = 64 * 1024


class Changed(FetchError):
    """The file is another one than when its first bytes were fetched: they are of no use."""

    def __init__(self, identity: str, what: str) -> None:
        super().__init__(errors.SERVER_ERROR, f"{identity} {what}; starting over", retryable=True)


@dataclass(slots=True, kw_only=True)
class Opening:
    """A source's answer to the first question."""

    asking: Asking
    answer: Answer
    place: Place  # where redirects led; it is asked for the other ranges, too
    head: bytes  # the bytes that came, from answer.start on
    response: httpx.Response | None  # open, when the whole file comes in this one answer
    reached: int = 0  # how far that one has been read
    _body: Iterator[bytes] = field(default_factory=lambda: iter(()))

    @property
    def ranged(self) -> bool:
        return self.response is None

    def close(self) -> None:
        if self.response is not None:
            self.response.close()

    def body(self) -> Iterator[bytes]:
        """What follows the head, of a source that sends the whole file in one answer."""
        return self._body

    def extend(self, needed: int) -> bool:
        """Make the head longer; False when the file ends before."""
        if self.response is not None:
            pieces = [self.head]
            while self.reached < needed and (chunk := next(self._body, None)) is not None:
                pieces.append(chunk)
                self.reached += len(chunk)
            self.head = b"".join(pieces)
        elif self.answer.total is None or len(self.head) < min(needed, self.answer.total):
            self._extend_by_range(needed)
        return len(self.head) >= needed

    def _extend_by_range(self, needed: int) -> None:
        start, total = len(self.head), self.answer.total
        span = Span(start, needed if total is None else min(needed, total))
        with closing(self.asking.send(span, etag=self.answer.etag, to=self.place)) as response:
            found = answers.understand(response, self.asking.location)
            check_range(found, span, self.answer, self.asking.location.identity)
            self.head += _read(self.asking, response, span)


def check_range(found: Answer, span: Span, expected: Answer, identity: str) -> None:
    """Hold the answer for a range against what the file is known to be."""
    if found.etag not in (None, expected.etag) or found.total not in (None, expected.total):
        raise Changed(identity, "has another file now")
    if found.start != span.start:
        raise FetchError(
            errors.SERVER_ERROR,
            f"{identity} sent the bytes from {found.start} on, asked for those from {span.start} on",
            retryable=True,
        )


def probe(asking: Asking, missing: Span | None, *, etag: str | None, ranges: bool) -> Opening:
    """Ask for the first bytes that are missing, of the etag's file; None: for the first of a new file."""
    if ranges:
        opening = _by_range(asking, missing or Span(0, HEAD_BYTES), etag=etag)
        if opening is not None:
            return opening
    return _whole(asking)


def _by_range(asking: Asking, missing: Span, *, etag: str | None) -> Opening | None:
    """None when the source should be asked without a range."""
    span = Span(missing.start, min(missing.end, missing.start + HEAD_BYTES))
    identity = asking.location.identity
    response = asking.send(span, etag=etag)
    if response.status_code == 200:
        return _opened(asking, response)
    try:
        if response.status_code == 416 and span.start:
            raise Changed(identity, "has no bytes where an earlier answer had some")
        # Of a file without bytes, no range can be had; and some who lack ranges say so.
        if response.status_code == 416:
            return None
        answer = answers.understand(response, asking.location)
        # Ranges of different versions of a file must not be mixed; and where a count is wrong, or missing,
        # the bytes may be wrong, too.
        answer = replace(answer, etag=answer.etag or etag)
        if answer.etag is None or answer.total is None or answer.start != span.start:
            return None
        return Opening(
            asking=asking,
            answer=answer,
            place=Place.of(response),
            head=_read(asking, response, span),
            response=None,
        )
    except FetchError as error:
        if response.status_code == 206 and error.reason == errors.SERVER_ERROR:
            return None
        raise
    finally:
        response.close()


def _whole(asking: Asking) -> Opening:
    return _opened(asking, asking.send())


def _opened(asking: Asking, response: httpx.Response) -> Opening:
    try:
        answer = answers.understand(response, asking.location)
    except BaseException:
        response.close()
        raise
    opening = Opening(asking=asking, answer=answer, place=Place.of(response), head=b"", response=response)
    opening._body = asking.chunks(response, reached=lambda: opening.reached)
    return opening


def _read(asking: Asking, response: httpx.Response, span: Span) -> bytes:
    """The bytes of a short range; fewer when the file ends before."""
    found = bytearray()

    def reached() -> int:
        return span.start + len(found)

    for chunk in asking.chunks(response, reached=reached, limit=span.end - span.start):
        found += chunk
    return bytes(found)
