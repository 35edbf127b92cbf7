"""Answers in a worker's place: 503 with the reason, whatever is asked, while no worker can be had."""

import contextlib
import json
import socket
import threading
import time

#: At a time; more wait in the kernel.
_MOST_CONNECTIONS = 16
#: For a request to arrive, for the answer to leave, and for the request's rest after it; each in all, however
#: often something comes.
_SECONDS = 2.0
#: Between two tries to take a connection where there are none to be had.
_BREATH_SECONDS = 0.1
_CHUNK = 1 << 16
_MOST_HEAD_BYTES = 1 << 16


class StandIn:
    """Answers connections one by one, each in a thread, so that a silent client holds up nobody."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def accept(self, listening: socket.socket, detail: str, retry_seconds: float) -> None:
        """Takes one connection, if there is one and a place for it, and answers it."""
        if not self._places.acquire(timeout=0.1):
            return
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionError):
            self._places.release()
            return
        except OSError:
            # Too many open files: it will be so for a moment, in which the socket stays ready to be asked.
            self._places.release()
            time.sleep(_BREATH_SECONDS)
            return
        given = (connection, _answer(detail, retry_seconds))
        try:
            threading.Thread(target=self._attend, args=given, daemon=True).start()
        except RuntimeError:  # no more threads
            connection.close()
            self._places.release()

    def _attend(self, connection: socket.socket, answer: bytes) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                _read_head(connection, time.monotonic() + _SECONDS)
                connection.settimeout(_SECONDS)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                # What still comes is read, or the client would be told of a broken pipe before the answer.
                until = time.monotonic() + _SECONDS
                while _received(connection, until):
                    pass
        finally:
            self._places.release()


def _received(connection: socket.socket, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
    return connection.recv(_CHUNK)


def _read_head(connection: socket.socket, until: float) -> None:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD_BYTES:
        chunk = _received(connection, until)
        if not chunk:
            return
        head += chunk


def _answer(detail: str, retry_seconds: float) -> bytes:
    body = json.dumps({"error": "Unavailable", "detail": detail}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {max(1, round(retry_seconds))}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
