"""How far the fetch is, for whoever asks: the operator by /v1/progress, Prometheus by /metrics.

What is asked here must never hold up or fail the fetch: it is answered by threads of its own, a few at a
time, from numbers that the fetch leaves behind.
"""

import contextlib
import hashlib
import hmac
import http.server
import json
import logging
import socket
import socketserver
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest

from sd_operator.fetch.errors import FetchError

# The rate is that of the last so many seconds.
_RATE_SECONDS = 10.0
_SAMPLE_SECONDS = 0.5
_REPORT_SECONDS = 10.0
# Whoever asks gets so long for all of it, and so many may ask at once.
_ASKING_SECONDS = 5.0
_ASKING = 8
_POLL_SECONDS = 0.1

log = logging.getLogger(__name__)


class Phase(StrEnum):
    WAITING = "Waiting"  # for another fetch, or until the source may be asked again
    PROBING = "Probing"
    FETCHING = "Fetching"
    VERIFYING = "Verifying"
    CONVERTING = "Converting"
    PLACING = "Placing"


class Progress:
    """The numbers of this process. Several threads may write them."""

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        self.source = ""
        self._bytes = 0
        self._total: int | None = None
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._arrived = 0
        self._reported = time.monotonic()
        self.registry = CollectorRegistry()
        self._received = Counter("sdo_fetch_bytes", "Bytes received.", registry=self.registry)
        self._again = Counter(
            "sdo_fetch_refetched_bytes", "Bytes given up, to be received again.", registry=self.registry
        )
        self._resumes = Counter(
            "sdo_fetch_resumes", "Times a download went on where it had ended.", registry=self.registry
        )
        self._failures = Counter(
            "sdo_fetch_failed_attempts", "Attempts that failed.", ["reason"], registry=self.registry
        )

    def received(self, count: int) -> None:
        self._received.inc(count)
        with self._lock:
            self._arrived += count

    def given_up(self, count: int) -> None:
        self._again.inc(count)

    def resumed(self) -> None:
        self._resumes.inc()

    def failed(self, failure: FetchError) -> None:
        self._failures.labels(failure.reason).inc()

    def reach(self, count: int, total: int | None) -> None:
        """So many bytes of the file are there, of so many."""
        self._bytes, self._total = count, total
        now = time.monotonic()
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            with self._lock:
                self._samples.append((now, self._arrived))
                while len(self._samples) > 2 and now - self._samples[1][0] > _RATE_SECONDS:
                    self._samples.popleft()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            log.info("%d of %s bytes", count, "unknown" if total is None else total)

    def told(self) -> dict[str, Any]:
        return {
            "bytes": self._bytes,
            "totalBytes": self._total,
            "bytesPerSecond": round(self._rate(), 1),
            "phase": self.phase,
            "source": self.source,
        }

    def _rate(self) -> float:
        with self._lock:
            begun, before = self._samples[0]
            ended, arrived = self._samples[-1]
        # Nothing has been noted for a while: nothing comes.
        if time.monotonic() - ended > _RATE_SECONDS or ended <= begun:
            return 0.0
        return (arrived - before) / (ended - begun)


@contextmanager
def serving(
    progress: Progress, *, port: int, token_sha256: str, seconds: float = _ASKING_SECONDS
) -> Iterator[int]:
    """Answer on this port of every interface within the block; 0 for no port. Gives the port."""
    if port == 0:
        yield 0
        return
    try:
        server = _Server(port, progress, token_sha256, seconds)
    except OSError as error:
        log.warning("progress cannot be asked for on port %d: %s", port, error)
        yield 0
        return
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name="progress", daemon=True
    )
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, progress: Progress, token_sha256: str, seconds: float) -> None:
        self.progress = progress
        self.token_sha256 = token_sha256
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(_ASKING)
        self._ends: dict[socket.socket, float] = {}  # of the connections, on the clock
        self._dual = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if self._dual else socket.AF_INET
        super().__init__(("", port), _Handler)

    def server_bind(self) -> None:
        if self._dual:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not http.server's, which looks the machine's own name up.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._ends[request] = time.monotonic() + self._seconds
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            # No thread can be had.
            self._leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: Any) -> None:
        del self._ends[request]
        self._places.release()

    def service_actions(self) -> None:
        """Called between connections, several times a second: who is slow does not keep a place."""
        now = time.monotonic()
        for request, end in list(self._ends.items()):
            if now >= end:
                # Its thread finds the connection ended; if it has closed it already, there is nothing to end.
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("an answer about progress failed", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _ASKING_SECONDS
    # One answer a connection: nobody keeps a place.
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        # Numbers alone, for scrapers that have no token; as a serving pod has it.
        if self.path == "/metrics":
            body = generate_latest(self.server.progress.registry)
            self._answer(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", body)
        elif not self._allowed():
            self._answer(HTTPStatus.UNAUTHORIZED, "text/plain", b"a token is needed\n")
        elif self.path == "/v1/progress":
            body = json.dumps(self.server.progress.told()).encode()
            self._answer(HTTPStatus.OK, "application/json", body)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /v1/progress and /metrics\n")

    def _allowed(self) -> bool:
        wanted = self.server.token_sha256
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return not wanted or hmac.compare_digest(hashlib.sha256(given.encode()).hexdigest(), wanted)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Who asks for progress is of no interest."""
