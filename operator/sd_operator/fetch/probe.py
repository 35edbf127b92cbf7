"""What a source serves, asked before a byte is stored: size, etag, version, ranges, and the beginning.

The bytes that the question brings are used, so that nothing is downloaded twice. A source without ranges
answers with the whole file: its answer stays open and is read on.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import httpx

from sd_operator.fetch import answers, errors
from sd_operator.fetch.answers import Answer
from sd_operator.fetch.asking import Asking, Place
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import Span
from sd_operator.fetch.pace import Pace

HEAD_BYTES = 64 * 1024


class Changed(FetchError):
    """The file is another one than when its first bytes were fetched: they are of no use."""

    def __init__(self, identity: str, what: str) -> None:
        super().__init__(errors.SERVER_ERROR, f"{identity} {what}; starting over", retryable=True)


class Glitch(FetchError):
    """An answer about the same file that cannot be right: it says nothing about the bytes that are here."""

    def __init__(self, identity: str, what: str) -> None:
        super().__init__(errors.SERVER_ERROR, f"{identity} {what}", retryable=True)


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
        else:
            end = needed if self.answer.total is None else min(needed, self.answer.total)
            pace = self.asking.pace()
            while len(self.head) < end:
                self._extend_by_range(Span(len(self.head), end), pace)
        return len(self.head) >= needed

    def _extend_by_range(self, span: Span, pace: Pace) -> None:
        asking, etag = self.asking, self.answer.etag
        with closing(asking.send(span, etag=etag, to=self.place, pace=pace)) as response:
            found = answers.understand(response, asking.location)
            check_range(found, span, self.answer, asking.location.identity)
            self.head += _read(asking, response, Span(span.start, end_of(response, span)), pace)


def check_range(found: Answer, span: Span, expected: Answer, identity: str) -> None:
    """Hold the answer for a range against what the file is known to be."""
    # Without an etag it may be of any version of the file.
    if found.etag != expected.etag:
        raise Changed(identity, "has another file now")
    if found.total not in (None, expected.total):
        raise Glitch(identity, f"says that the file has {found.total} bytes, and said {expected.total}")
    if found.start != span.start:
        raise FetchError(
            errors.SERVER_ERROR,
            f"{identity} sent the bytes from {found.start} on, asked for those from {span.start} on",
            retryable=True,
        )


def end_of(response: httpx.Response, span: Span) -> int:
    """Where a good answer for a range ends: some sources send fewer bytes than they are asked for."""
    found = re.search(r"-(\d{1,18})/", response.headers.get("content-range", ""))
    end = span.end if found is None else int(found[1]) + 1
    return min(span.end, end) if end > span.start else span.end


def no_such_range(response: httpx.Response, total: int | None, identity: str) -> FetchError:
    """What a 416 means for bytes that a file of this size must have."""
    if total is not None and response.headers.get("content-range", "") == f"bytes */{total}":
        return Glitch(identity, f"has no bytes within the {total} that it says the file has")
    return Changed(identity, "has no bytes where an earlier answer had some")


def probe(
    asking: Asking, missing: Span | None, *, etag: str | None, total: int | None, ranges: bool
) -> Opening:
    """Ask for the first bytes that are missing, of the etag's file; None: for the first of a new file."""
    if ranges:
        opening = _by_range(asking, missing or Span(0, HEAD_BYTES), etag=etag, total=total)
        if opening is not None:
            return opening
    return _whole(asking)


def _by_range(asking: Asking, missing: Span, *, etag: str | None, total: int | None) -> Opening | None:
    """None when the source should be asked without a range."""
    span = Span(missing.start, min(missing.end, missing.start + HEAD_BYTES))
    identity = asking.location.identity
    response = asking.send(span, etag=etag)
    if response.status_code == 200:
        return _opened(asking, response)
    try:
        if response.status_code == 416 and span.start:
            raise no_such_range(response, total, identity)
        # Of a file without bytes, no range can be had; and some who lack ranges say so.
        if response.status_code == 416:
            return None
        answer = answers.understand(response, asking.location)
        # Ranges of different versions of a file must not be mixed; and where a count is wrong, or missing,
        # the bytes may be wrong, too.
        if answer.etag is None or answer.total is None or answer.start != span.start:
            return None
        return Opening(
            asking=asking,
            answer=answer,
            place=Place.of(response),
            head=_read(
                asking, response, Span(span.start, min(end_of(response, span), answer.total)), asking.pace()
            ),
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
        if answer.start:
            raise FetchError(
                errors.SERVER_ERROR,
                f"{asking.location.identity} sent the bytes from {answer.start} on, asked for the whole file",
                retryable=True,
            )
    except BaseException:
        response.close()
        raise
    opening = Opening(asking=asking, answer=answer, place=Place.of(response), head=b"", response=response)
    opening._body = asking.chunks(response, reached=lambda: opening.reached)
    return opening


def _read(asking: Asking, response: httpx.Response, span: Span, pace: Pace) -> bytes:
    """The bytes of a short range that the file has."""
    found = bytearray()

    def reached() -> int:
        return span.start + len(found)

    for chunk in asking.chunks(response, reached=reached, limit=span.end - span.start, pace=pace):
        found += chunk
    if reached() < span.end:
        raise FetchError(
            errors.TRUNCATED,
            f"{asking.location.identity} ended the body after byte {reached()}, before the file's end",
            retryable=True,
        )
    return bytes(found)
