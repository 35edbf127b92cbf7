"""Plugins over real Unix sockets, written by hand: one that honours the contract, and one for each point of
it that breaks that point alone."""

import io
import json
import math
import socket
import struct
import threading
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sd_runtime.plugins import npy_header


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def image(self) -> Any:
        with zipfile.ZipFile(io.BytesIO(self.body)) as archive:
            data = archive.read("image.npy")
        shape = npy_header.read(io.BytesIO(data)).shape
        return np.frombuffer(data, np.uint8)[-math.prod(shape) :].reshape(shape)

    @property
    def parameters(self) -> dict[str, float]:
        with zipfile.ZipFile(io.BytesIO(self.body)) as archive:
            return dict(json.loads(archive.read("parameters.json")))


def module(name: str = "invert", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.title(),
        "aliases": [f"{name} (old)"],
        "controlTypes": ["Lineart"],
        "matches": ["lineart"],
        "available": True,
        "reason": "",
        "mask": False,
        "factor": None,
        "parameters": [parameter("level", default=512, minimum=64, maximum=2048)],
    } | changes


def parameter(name: str, **changes: Any) -> dict[str, Any]:
    numbers = {"type": "integer", "default": 100, "minimum": 0, "maximum": 255, "step": 1, "unit": ""}
    return {"name": name, "label": name.title()} | numbers | changes


def description(name: str = "good", **changes: Any) -> dict[str, Any]:
    return {
        "contract": 1,
        "name": name,
        "version": "0.1.0",
        "kind": "Preprocessor",
        "limits": {"pixels": 1_000_000, "seconds": 60.0},
        "modules": [module()],
    } | changes


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def packed(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def result(array: Any, info: object = None) -> bytes:
    return packed({"image.npy": npy(array), "result.json": json.dumps(info or {"seconds": 0.1}).encode()})


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def refused(status: str, reason: str, detail: str) -> bytes:
    return http(json.dumps({"error": reason, "detail": detail}).encode(), status)


class Plugin:
    """One that honours the contract: it inverts pictures, or repeats their pixels."""

    def __init__(self, folder: Path, name: str = "good", **described: Any) -> None:
        self.name = name
        self.path = folder / f"{name}.sock"
        self.described = description(name, **described)
        self.asked: list[Asked] = []
        #: Ends whatever waits.
        self.ended = threading.Event()
        self._listening: socket.socket | None = None

    def listen(self) -> "Plugin":
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        threading.Thread(target=self._serve, args=(self._listening,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.ended.set()
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self.path.unlink(missing_ok=True)

    @property
    def runs(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    def describe(self) -> bytes:
        return http(json.dumps(self.described).encode())

    def tell_health(self) -> bytes:
        return http(b'{"status": "ok"}')

    def run(self, asked: Asked) -> bytes:
        return http(result(self.made(asked.image)), kind="application/zip")

    def made(self, image: Any) -> Any:
        factor = self.described["modules"][0]["factor"]
        return 255 - image if factor is None else image.repeat(factor, axis=0).repeat(factor, axis=1)

    def send(self, connection: socket.socket, answer: bytes) -> None:
        connection.sendall(answer)

    def answer(self, connection: socket.socket, asked: Asked) -> None:
        if asked.path == "/healthz":
            connection.sendall(self.tell_health())
        else:
            self.send(connection, self.run(asked) if asked.method == "POST" else self.describe())

    def _serve(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=self._attend, args=(connection,), daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            asked = _read(connection)
            self.asked.append(asked)
            self.answer(connection, asked)


def _read(connection: socket.socket) -> Asked:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _more(connection)
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 20)
    if not data:
        raise ConnectionError
    return data


class Saying(Plugin):
    """Answers runs with these bytes."""

    def __init__(self, folder: Path, answer: bytes, **described: Any) -> None:
        super().__init__(folder, **described)
        self._answer = answer

    def run(self, asked: Asked) -> bytes:
        return self._answer


class Dribbling(Plugin):
    """Sends an honest answer to a run, and takes hours for it."""

    def send(self, connection: socket.socket, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json"):
            return super().send(connection, answer)
        for place in range(len(answer)):
            connection.sendall(answer[place : place + 1])
            if self.ended.wait(0.02):
                break
        return None


class DribblingHeaders(Plugin):
    """Has always one more header of its description to send."""

    def describe(self) -> bytes:
        return b"HTTP/1.1 200 OK\r\n"

    def send(self, connection: socket.socket, answer: bytes) -> None:
        super().send(connection, answer)
        while not self.ended.wait(0.02):
            connection.sendall(b"X: y\r\n")


class Hanging(Plugin):
    """Takes a picture and never answers."""

    def run(self, asked: Asked) -> bytes:
        self.ended.wait()
        return b""


class Late(Plugin):
    """Says of each run, when its time is over, that it was not done in time."""

    def run(self, asked: Asked) -> bytes:
        self.ended.wait(float(asked.headers["sd-deadline"]))
        return refused("504 Gateway Timeout", "DeadlineExceeded", "not finished in time")


class Mute(Plugin):
    """Never says what it is."""

    def describe(self) -> bytes:
        self.ended.wait()
        return b""


class Endless(Plugin):
    """Its answer has no end."""

    def answer(self, connection: socket.socket, asked: Asked) -> None:
        if asked.method != "POST":
            return super().answer(connection, asked)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not self.ended.is_set():
            connection.sendall(bytes(1 << 20))
        return None


class Crumbling(Plugin):
    """Its answer to a run has no end, and comes in chunks of two bytes."""

    def run(self, asked: Asked) -> bytes:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def send(self, connection: socket.socket, answer: bytes) -> None:
        super().send(connection, answer)
        while b"chunked" in answer and not self.ended.is_set():
            connection.sendall(b"2\r\nab\r\n" * 1000)


class Padding(Crumbling):
    """Its answer to a run is a chunk whose extension has no end, in the way of HTTP one after another."""

    def send(self, connection: socket.socket, answer: bytes) -> None:
        if b"chunked" not in answer:
            return super().send(connection, answer)
        connection.sendall(answer)
        while not self.ended.is_set():
            connection.sendall((b"800;" + b"x" * 8000 + b"\r\n" + b"a" * 2048 + b"\r\n") * 10)
        return None


class Continuing(Plugin):
    """Says without end that a run may go on."""

    def run(self, asked: Asked) -> bytes:
        return b"HTTP/1.1 100 Continue\r\n\r\n" * 1000

    def send(self, connection: socket.socket, answer: bytes) -> None:
        super().send(connection, answer)
        while b"100 Continue" in answer and not self.ended.is_set():
            connection.sendall(answer)


class ClosingInTheMidst(Plugin):
    """Closes the connection when half of the answer to a run is sent."""

    def send(self, connection: socket.socket, answer: bytes) -> None:
        half = b"application/zip" in answer[:200]
        connection.sendall(answer[: len(answer) // 2] if half else answer)


class Dying(Plugin):
    """Closes the connection in place of an answer to a run, as where its worker was killed."""

    def run(self, asked: Asked) -> bytes:
        return b""


class Slow(Plugin):
    """Each run takes a moment; how many were under way at once is counted."""

    def __init__(self, folder: Path, seconds: float, **described: Any) -> None:
        super().__init__(folder, **described)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._under_way = self.most_at_once = 0

    def run(self, asked: Asked) -> bytes:
        with self._lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        time.sleep(self._seconds)
        with self._lock:
            self._under_way -= 1
        return super().run(asked)


def with_locator(archive: bytes) -> bytes:
    """The archive with what stands before the end of one of the 64-bit kind."""
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    return archive[:-22] + locator + archive[-22:]
