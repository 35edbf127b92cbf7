"""The bytes of a file as an HTTP answer, whole or a range, well or as a plan says.

A fault that ends an answer early returns in the middle of it, upon which uvicorn closes the connection.
"""

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.sources.blobs import Blob
from tests.sources.counting import Ask, Counts, Tally
from tests.sources.plans import Plan

CHUNK_BYTES = 64 * 1024
#: Pieces a second where the rate is limited.
_PIECES = 20


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file; the whole of it where no range was asked for, or the condition did not hold."""

    start: int
    end: int
    partial: bool = False


def span_of(ask: Ask, size: int, etag: str) -> Span | None:
    """What is asked for; None where the file has no such bytes."""
    whole = Span(0, size)
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", ask.range.strip())
    if not found or found.groups() == ("", "") or (ask.if_range and ask.if_range != etag):
        return whole
    first, last = found.groups()
    if not first:
        return Span(max(0, size - int(last)), size, partial=True)
    start, end = int(first), min(size, int(last) + 1 if last else size)
    if last and int(last) < start:
        return whole
    return Span(start, end, partial=True) if start < size else None


def etag_of(blob: Blob, plan: Plan, number: int) -> str:
    """The validator; "" for none. A weak one must not be gone on with."""
    short = blob.sha256[:32]
    return {
        "strong": f'"{short}"',
        "weak": f'W/"{short}"',
        "none": "",
        "fickle": f'"{short}-{number}"',
    }[plan.etag]


class FileAnswer(Response):
    """Streams a span of a blob. `faults`: whether this request has the trouble of its plan."""

    def __init__(self, blob: Blob, ask: Ask, tally: Tally, *, plan: Plan, number: int, faults: bool) -> None:
        self._blob, self._ask, self._tally = blob, ask, tally
        self._plan = plan if faults else Plan(rate=plan.rate, etag=plan.etag, ranges=plan.ranges)
        self._threshold = blob.size * self._plan.cut_at / 100
        etag = etag_of(blob, plan, number)
        span = span_of(ask, blob.size, etag) if self._plan.ranges else Span(0, blob.size)
        if span is None:
            super().__init__(status_code=416, headers={"Content-Range": f"bytes */{blob.size}"})
        else:
            self.status_code = 206 if span.partial and not self._plan.encoding else 200
            self.background = None
            self.init_headers(self._head(span, etag))
        self._span = span
        ask.status, ask.start = self.status_code, span.start if span else 0

    def _head(self, span: Span, etag: str) -> dict[str, str]:
        plan, size = self._plan, self._blob.size
        headers = {"Content-Type": "application/octet-stream"}
        if etag:
            headers["ETag"] = etag
        if plan.ranges:
            headers["Accept-Ranges"] = "bytes"
        if plan.encoding:
            return headers | {"Content-Encoding": plan.encoding}
        if span.partial and plan.range_lie != "missing":
            start = span.start + (plan.range_lie == "start")
            total = size + 1000 * (plan.range_lie == "total")
            headers["Content-Range"] = f"bytes {start}-{span.end - 1}/{total}"
        if not plan.chunked:
            headers["Content-Length"] = str(max(0, span.end - span.start + plan.length))
        return headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._span is None:
            return await super().__call__(scope, receive, send)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            if self._plan.stall and not self._plan.stall_after:
                await asyncio.wait([gone], timeout=self._plan.stall)
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if scope["method"] == "HEAD" or await self._send_body(send, gone):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()

    async def _send_body(self, send: Send, gone: asyncio.Task[None]) -> bool:
        """Whether the answer is complete."""
        plan, span = self._plan, self._span
        assert span is not None
        if plan.encoding:
            packed = await asyncio.to_thread(lambda: gzip.compress(self._blob.location.read_bytes(), 1))
            await self._piece(send, packed)
            return True
        length = span.end - span.start
        allowed = min(length, length + plan.length, plan.cut or length)
        passed_before = self._cut_passed()
        piece = int(min(CHUNK_BYTES, max(1.0, plan.rate / _PIECES))) if plan.rate else CHUNK_BYTES
        with self._blob.location.open("rb") as file:
            file.seek(span.start)
            while self._ask.sent < allowed and not gone.done():
                content = file.read(min(piece, allowed - self._ask.sent))
                if plan.rate:
                    await self._tally.pace(len(content), plan.rate)
                if plan.stall_after and self._ask.sent >= plan.stall_after:
                    await asyncio.wait([gone], timeout=plan.stall)
                if gone.done() or (self._cut_passed() and not passed_before):
                    return False
                await self._piece(send, content)
        return self._ask.sent == length + plan.length

    async def _piece(self, send: Send, content: bytes) -> None:
        await send({"type": "http.response.body", "body": content, "more_body": True})
        self._ask.sent += len(content)

    def _cut_passed(self) -> bool:
        return bool(self._threshold) and self._tally.sent >= self._threshold


async def _disconnected(receive: Receive) -> None:
    """Until the client is gone: uvicorn swallows what is sent to it after that."""
    while (await receive())["type"] != "http.disconnect":
        pass


def counted(
    counts: Counts, answer: Callable[[Request, Ask, Tally], Response]
) -> Callable[[Request], Awaitable[Response]]:
    """A door that counts what is asked, and with which status it was answered."""

    async def door(request: Request) -> Response:
        headers, tally = request.headers, counts.of(request.url.path)
        ask = Ask(
            method=request.method,
            host=headers.get("host", ""),
            authorization=headers.get("authorization", ""),
            range=headers.get("range", ""),
            if_range=headers.get("if-range", ""),
        )
        tally.asks.append(ask)
        response = answer(request, ask, tally)
        ask.status = response.status_code
        return response

    return door
