"""The bytes of a file of another claim, which is mounted beside the volume.

They go through the same partial file, gate and hash as those of any source. The file is taken for the same
one as before while its size and its time of change are.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sd_operator.fetch import errors
from sd_operator.fetch.answers import Answer
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import Span
from sd_operator.fetch.partial import Withdrawn, Writer
from sd_operator.fetch.probe import Changed
from sd_operator.fetch.sources import Location

_COPY_BYTES = 1024 * 1024


class LocalFile:
    """An open file of another claim."""

    ranged = False

    def __init__(self, descriptor: int, identity: str, answer: Answer) -> None:
        self.descriptor = descriptor
        self.identity = identity
        self.answer = answer
        self.head = b""

    def extend(self, needed: int) -> bool:
        with reading(self.identity):
            self.head = os.pread(self.descriptor, needed, 0)
        return len(self.head) >= needed

    def close(self) -> None:
        os.close(self.descriptor)


class Copy:
    """One thread's work: what is missing, in order."""

    def __init__(
        self, file: LocalFile, *, writer: Writer, missing: Sequence[Span], received: Callable[[int], None]
    ) -> None:
        self._file = file
        self._writer = writer
        self._missing = missing
        self._received = received

    def works(self, connections: int) -> list[Callable[[], None]]:
        return [self._copy]

    def end(self) -> None:
        self._writer.withdraw()

    def failure(self) -> FetchError | None:
        return None

    def _copy(self) -> None:
        file = self._file
        buffer = memoryview(bytearray(_COPY_BYTES))
        for span in self._missing:
            offset = span.start
            while offset < span.end:
                with reading(file.identity):
                    count = os.preadv(
                        file.descriptor, [buffer[: min(_COPY_BYTES, span.end - offset)]], offset
                    )
                if count == 0:
                    raise Changed(file.identity, "became shorter")
                try:
                    self._writer.write(offset, buffer[:count])
                except Withdrawn:
                    return
                self._received(count)
                offset += count
        with reading(file.identity):
            state = os.fstat(file.descriptor)
        if _etag(state) != file.answer.etag:
            raise Changed(file.identity, "was changed meanwhile")


def open_local(location: Location, path: Path, missing: Span | None, *, etag: str | None) -> LocalFile:
    """Open the file a location names; it goes on at what is missing if it is still that of the etag."""
    # Whoever owns the claim may have put something else there since it was looked at.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    with reading(location.identity):
        descriptor = os.open(path, flags)
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise FetchError(
                    errors.SOURCE_REFUSED,
                    f"{location.identity}: that is no file; set source.volume.path to the path of a file",
                )
        except BaseException:
            os.close(descriptor)
            raise
    found = _etag(state)
    start = missing.start if missing is not None and etag in (None, found) else 0
    answer = Answer(start=start, total=state.st_size, etag=found, version=None)
    return LocalFile(descriptor, location.identity, answer)


def _etag(state: os.stat_result) -> str:
    return f'"{state.st_ino}-{state.st_size}-{state.st_mtime_ns}"'


@contextmanager
def reading(identity: str) -> Iterator[None]:
    """Errors of the other claim are the source's, not the volume's."""
    try:
        yield
    except OSError as error:
        raise errors.of_claim(error, identity) from error
