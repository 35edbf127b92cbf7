"""One HTTP request over a Unix socket: an answer of bounded size within a bounded time, however the other
side sends it.

Each has a connection of its own: a plugin's worker may be replaced between two, and connecting costs nothing.
Knows nothing of what is asked.
"""

import errno
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpcore

from sd_runtime.plugins.faults import BrokenContract, Closed, NotAnswering, NotReached, TookTooLong

#: While a supervisor replaces what listens, the socket may be gone or refuse.
_RECONNECT_SECONDS = 0.05
#: Of an error's answer.
MOST_ERROR_BYTES = 64 * 1024
#: What comes before the body, the interim answers (1xx) among it: parsing costs far more than receiving.
_MOST_HEAD_BYTES = 64 * 1024
#: So many pieces (chunks, or what one read brings) a body may have, and one more for each kilobyte.
_PIECES, _PIECE_BYTES = 2048, 1024
_HOST = "plugin"
_ENDING = "this server is ending"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds, 0 and less when it is over."""
        return self.at - time.monotonic()

    def sooner(self, seconds: float) -> "Deadline":
        """That, or so many seconds from now, whichever is first."""
        return Deadline(min(self.at, time.monotonic() + seconds))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and what is accepted as an answer."""

    method: str
    path: str
    #: Of an answer with status 200.
    most_bytes: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Line:
    """The connections to one plugin's socket."""

    path: Path
    _open: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def ask(self, question: Question, deadline: Deadline, *, connect_seconds: float = 0.0) -> Answer:
        """Blocks until the answer is there. Connecting is tried again for so many seconds; nothing else is.
        Raises `NotReached`, `TookTooLong`, `NotAnswering`, `Closed`, and `BrokenContract` where what comes is
        no HTTP, or larger than is accepted."""
        connected = self._connected(deadline, deadline.sooner(connect_seconds))
        stream = _Stream(connected, deadline)
        try:
            return _asked(stream, question)
        except httpcore.TimeoutException as error:
            raise TookTooLong("it did not answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            if self._closed:
                raise Closed(_ENDING) from error
            if isinstance(error, httpcore.ProtocolError) and not stream.has_ended:
                raise BrokenContract(f"its answer is not HTTP: {error}") from error
            raise NotAnswering("it closed the connection before its answer was complete") from error
        finally:
            with self._lock:
                self._open.discard(connected)
            connected.close()

    def close(self) -> None:
        """Ends every connection; whoever waits at one is told."""
        with self._lock:
            self._closed = True
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _connected(self, deadline: Deadline, until: Deadline) -> socket.socket:
        while True:
            try:
                return self._connect(deadline)
            except OSError as error:
                passes = error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)
                if not passes or until.left < _RECONNECT_SECONDS:
                    raise NotReached(_sentence(error)) from error
            time.sleep(_RECONNECT_SECONDS)

    def _connect(self, deadline: Deadline) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._lock:
                if self._closed:
                    raise Closed(_ENDING)
                self._open.add(made)
            made.settimeout(max(deadline.left, 0.001))
            made.connect(str(self.path))
        except BaseException:
            with self._lock:
                self._open.discard(made)
            made.close()
            raise
        return made


def _sentence(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "its socket is not there"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens at its socket"
    if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
        return "it takes no more connections"
    return f"its socket cannot be used: {error.strerror or error}"


def _asked(stream: "_Stream", question: Question) -> Answer:
    headers = [("Host", _HOST), ("Connection", "close"), ("Accept-Encoding", "identity"), *question.headers]
    if question.body:
        headers.append(("Content-Length", str(len(question.body))))
    origin = httpcore.Origin(b"http", _HOST.encode(), 80)
    url = httpcore.URL(scheme="http", host=_HOST, port=80, target=question.path)
    with (
        httpcore.HTTP11Connection(origin, stream) as connection,
        connection.stream(question.method, url, headers=headers, content=question.body or None) as response,
    ):
        most = question.most_bytes if response.status == 200 else MOST_ERROR_BYTES
        stream.expect(most)
        return Answer(response.status, _content_type(response.headers), _body(response, most))


def _body(response: httpcore.Response, most_bytes: int) -> bytes:
    pieces: list[bytes] = []
    count = 0
    for piece in response.iter_stream():
        count += len(piece)
        if count > most_bytes:
            raise BrokenContract(f"its answer is larger than {most_bytes} bytes")
        if len(pieces) > _PIECES + count // _PIECE_BYTES:
            raise BrokenContract(
                f"its answer comes in pieces that are too small: {len(pieces)} for {count} bytes"
            )
        pieces.append(piece)
    return b"".join(pieces)


def _content_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    found = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    return found.decode("latin-1").partition(";")[0].strip().lower()


class _Stream(httpcore.NetworkStream):
    """A connected socket for httpcore. No single read or write waits beyond the one deadline of them all, so
    that a side which sends a byte now and then gains nothing by it; and no more is read than an answer can
    have, so that one which sends what HTTP passes over gains nothing either."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline
        #: Bytes that are still read.
        self._left = _MOST_HEAD_BYTES
        #: The other side sends no more.
        self.has_ended = False

    def expect(self, body_bytes: int) -> None:
        """The head is there: a body of so many bytes follows, with room for what chunks take besides."""
        self._left = body_bytes + body_bytes // 8 + _MOST_HEAD_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._set_timeout(httpcore.ReadTimeout)
        if self._left <= 0:
            raise BrokenContract("its answer is not HTTP: more comes around its body than one can need")
        try:
            data = self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        self.has_ended = not data
        self._left -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._set_timeout(httpcore.WriteTimeout)
        try:
            self._socket.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        """Whoever has connected closes."""

    def get_extra_info(self, info: str) -> Any:
        return None

    def _set_timeout(self, over: type[Exception]) -> None:
        left = self._deadline.left
        if left <= 0:
            raise over("the deadline has passed")
        self._socket.settimeout(left)
