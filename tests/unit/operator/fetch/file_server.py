"""A file server on loopback that misbehaves as told."""

import http.server
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "FileServer"

    def do_GET(self) -> None:
        with self.server.turn:
            self.server.requests.append((self.path, dict(self.headers.items())))
            self.number = len(self.server.requests) - 1
            self.server.served.append(0)
            answer = self.server.script.popleft() if self.server.script else self.server.otherwise
        answer(self)

    @property
    def asked(self) -> tuple[int, int | None] | None:
        """The range that was asked for, its end included; None for the whole file."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        return None if found is None else (int(found[1]), int(found[2]) if found[2] else None)

    def head(self, status: int, headers: Mapping[str, str | int | None]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()

    def body(self, content: bytes) -> None:
        try:
            for start in range(0, len(content), 65536):
                self.wfile.write(content[start : start + 65536])
                self.server.served[self.number] += len(content[start : start + 65536])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class FileServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.etag: str | None = '"one"'
        self.script: deque[Answer] = deque()  # answers to the next requests
        self.otherwise: Answer = serve()  # and to those after them
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.served: list[int] = []  # bytes of body, by request
        self.go_on = threading.Event()
        self.busy = 0
        self.turn = threading.Lock()
        self._idle = threading.Condition()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._idle:
            self.busy += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._idle:
                self.busy -= 1
                self._idle.notify_all()

    def wait_idle(self) -> None:
        """Until every connection that was begun has ended."""
        with self._idle:
            assert self._idle.wait_for(lambda: self.busy == 0, timeout=10)

    def ranges(self) -> list[str | None]:
        """What was asked for, in order."""
        return [headers.get("Range") for _, headers in self.requests]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.address}/files/model.safetensors"


def serve(
    *,
    cut: int | None = None,
    stall: int | None = None,
    ranges: bool = True,
    status: int | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Answer:
    """The file as a good server sends it; cut: close after so many bytes; stall: wait there to be told."""

    def answer(handler: Handler) -> None:
        server, start, end = handler.server, 0, len(handler.server.content)
        total, asked = end, handler.asked
        matches = handler.headers.get("If-Range") in (None, server.etag)
        ranged = ranges and asked is not None and matches
        if ranged and asked is not None:
            start, end = asked[0], min(total, total if asked[1] is None else asked[1] + 1)
        if ranged and start >= total:
            handler.head(416, {"Content-Range": f"bytes */{total}", "Content-Length": 0})
            return
        content = server.content[start:end]
        found: dict[str, Any] = {"Content-Length": len(content), "ETag": server.etag}
        if ranged:
            found["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        handler.head(status or (206 if ranged else 200), found | dict(headers or {}))
        if stall is not None and stall < len(content):
            handler.body(content[:stall])
            handler.wfile.flush()
            server.go_on.wait(20)
            content = content[stall:]
        if cut is not None:
            handler.body(content[:cut])
            handler.close_connection = True
            return
        handler.body(content)

    return answer


def reply(status: int, body: bytes = b"", **headers: str | int) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(handler: Handler) -> None:
        handler.head(status, {"Content-Length": len(body), **named})
        handler.body(body)

    return answer
