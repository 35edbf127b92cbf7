"""Which bytes of a file are in its partial file: a count for each segment, kept in a small file beside it.

Segments fill from their beginning, several at a time. Each write is counted once its bytes are in the page
cache, which outlives the process: a kill costs no more than the write under way. It does not outlive the
node; what a crash leaves is for `partial` to decide.
"""

import os
import struct
import threading
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SEGMENT_BYTES = 16 * 1024 * 1024

_COUNT = struct.Struct("<I")


class Span(NamedTuple):
    """Bytes of a file, the end excluded."""

    start: int
    end: int


class Journal:
    """The counts, in memory and on the volume. Several threads may use it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self._counts = array("Q")
        self._lock = threading.Lock()
        self._full = 0  # segments from the first on that have every byte
        self.present = 0

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, *, limit: int) -> None:
        """Believe what an earlier process wrote, for bytes before the limit."""
        raw = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        spans = []
        for index, (count,) in enumerate(_COUNT.iter_unpack(raw[: len(raw) // _COUNT.size * _COUNT.size])):
            start = index * SEGMENT_BYTES
            spans.append(Span(start, min(start + min(count, SEGMENT_BYTES), limit)))
        self.cover(spans)

    def cover(self, spans: Iterable[Span]) -> None:
        """Count these bytes and no others; of each segment those that follow its beginning."""
        with self._lock:
            self._counts, self._full, self.present = array("Q"), 0, 0
            os.ftruncate(self._descriptor, 0)
            for span in spans:
                if span.start < span.end:
                    self._count(span)

    def advance(self, span: Span) -> None:
        """These bytes are there now, too; those of their segments before them were there already."""
        with self._lock:
            self._count(span)

    def frontier(self) -> int:
        """The number of bytes from the first on without a gap."""
        with self._lock:
            while self._full < len(self._counts) and self._counts[self._full] == SEGMENT_BYTES:
                self._full += 1
            rest = self._counts[self._full] if self._full < len(self._counts) else 0
            return self._full * SEGMENT_BYTES + rest

    def missing(self, total: int) -> list[Span]:
        """What a file of that size lacks, in order, one span a segment."""
        with self._lock:
            counts = list(self._counts)
        found = []
        for index in range(-(-total // SEGMENT_BYTES)):
            start, end = index * SEGMENT_BYTES, min((index + 1) * SEGMENT_BYTES, total)
            begun = start + (counts[index] if index < len(counts) else 0)
            if begun < end:
                found.append(Span(begun, end))
        return found

    def spans(self) -> list[Span]:
        """What is there, in order; neighbours are one span."""
        with self._lock:
            counts = list(self._counts)
        found: list[Span] = []
        for index, count in enumerate(counts):
            start = index * SEGMENT_BYTES
            if count and found and found[-1].end == start:
                found[-1] = Span(found[-1].start, start + count)
            elif count:
                found.append(Span(start, start + count))
        return found

    def _count(self, span: Span) -> None:
        first, last = span.start // SEGMENT_BYTES, (span.end - 1) // SEGMENT_BYTES
        if len(self._counts) <= last:
            self._counts.extend([0] * (last + 1 - len(self._counts)))
        for index in range(first, last + 1):
            base = index * SEGMENT_BYTES
            before, reached = self._counts[index], min(span.end - base, SEGMENT_BYTES)
            # A gap would be counted as bytes. Nothing writes one.
            if reached <= before or max(span.start - base, 0) > before:
                continue
            os.pwrite(self._descriptor, _COUNT.pack(reached), index * _COUNT.size)
            self._counts[index] = reached
            self.present += reached - before
