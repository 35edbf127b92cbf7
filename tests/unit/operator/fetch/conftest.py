"""A file server on loopback that misbehaves as told, and fetches in this process or in one of their own."""

import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sd_modelfiles import manifest
from sd_modelfiles.manifest import Entry
from sd_operator.fetch import download, request, sources, task
from sd_operator.fetch.patience import Patience
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Verified

REPOSITORY = Path(__file__).parents[4]

CHECKPOINT_SHAPES = {
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (32, 32),
    "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (64, 32),
}

Answer = Callable[["Handler"], None]


class Made:
    """The bytes of model files: a header with real names, and data that differs from byte to byte."""

    def checkpoint(self, *, size: int = 4096, extra: Mapping[str, tuple[int, ...]] | None = None) -> bytes:
        return self.safetensors({**CHECKPOINT_SHAPES, **(extra or {}), "padding": (size,)})

    def safetensors(self, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
        document, position = {}, 0
        for name, shape in shapes.items():
            size = 1
            for side in shape:
                size *= side
            document[name] = {"dtype": "U8", "shape": shape, "data_offsets": [position, position + size]}
            position += size
        block = bytes(range(251))  # a prime, so that no chunk begins where another did
        return self.with_header(json.dumps(document).encode(), (block * (position // 251 + 1))[:position])

    def sha256(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    def with_header(self, raw: bytes, data: bytes = b"") -> bytes:
        return struct.pack("<Q", len(raw)) + raw + data


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "FileServer"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers.items())))
        self.server.served.append(0)
        answer = self.server.script.popleft() if self.server.script else serve()
        answer(self)

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
                self.server.served[-1] += len(content[start : start + 65536])
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
        self.script: deque[Answer] = deque()  # answers to the next requests; then the file is served well
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.served: list[int] = []  # bytes of body, by request
        self.go_on = threading.Event()
        self.busy = 0
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
    headers: Mapping[str, Any] | None = None,
) -> Answer:
    """The file as a good server sends it; cut: close after so many bytes; stall: wait there to be told."""

    def answer(handler: Handler) -> None:
        server, start = handler.server, 0
        wanted = handler.headers.get("Range", "")
        matches = handler.headers.get("If-Range") in (None, server.etag)
        if ranges and wanted.startswith("bytes=") and matches:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        content, total = server.content[start:], len(server.content)
        if start >= total:
            handler.head(416, {"Content-Range": f"bytes */{total}", "Content-Length": 0})
            return
        found: dict[str, Any] = {"Content-Length": len(content), "ETag": server.etag}
        if start:
            found["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        handler.head(206 if start else 200, found | dict(headers or {}))
        if stall is not None:
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


@dataclass
class Fetches:
    """Fetches onto one volume."""

    root: Path
    server: FileServer
    verdict: Path

    def words(self, *, family: str = "Auto", **changes: Any) -> dict[str, Any]:
        file = {"name": "base", "type": "Checkpoint", "source": {"http": {"url": self.server.url}}} | changes
        return {"bundle": "demo", "family": family, "file": file}

    def run(self, *, patience: Patience | None = None, **changes: Any) -> Verified:
        """In this process, without waiting between attempts."""
        wanted = request.parse(json.dumps(self.words(**changes)))
        source = sources.locate(wanted.file.source, hf_endpoint=self.server.address + "/hub/")
        with download.new_client(source) as client:
            return task.run(
                task.Task(request=wanted, source=source, root=self.root, stop=Stop()),
                client=client,
                patience=patience or Patience(attempts=3, first_wait=0.0, progress_bytes=1),
            )

    def start(self, *, under: tuple[str, ...] = (), **changes: Any) -> subprocess.Popen[str]:
        """In a process of its own, as the Job's pod does it."""
        return self.start_with(json.dumps(self.words(**changes)), under=under)

    def start_with(self, text: str, *, under: tuple[str, ...] = (), **env: str) -> subprocess.Popen[str]:
        path = os.pathsep.join(str(REPOSITORY / each) for each in ("modelfiles", "operator"))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": path,
            "SD_FETCH_FILE": text,
            "SD_FETCH_ROOT": str(self.root),
            "SD_FETCH_VERDICT": str(self.verdict),
        }
        return subprocess.Popen(
            [*under, sys.executable, "-m", "sd_operator.fetch"],
            env=environment | env,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.verdict.read_bytes())
        return found

    def wait_until(self, true: Callable[[], bool], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)

    @property
    def target(self) -> Path:
        return self.root / "models/Stable-diffusion/model.safetensors"

    @property
    def part(self) -> Path:
        return self.root / ".sd-operator/partial/base.part"

    def entries(self) -> list[Entry]:
        return list(manifest.load(self.root).files)

    def visible(self) -> list[str]:
        """Every file below models/."""
        return sorted(path.name for path in (self.root / "models").rglob("*") if path.is_file())

    def left(self) -> list[str]:
        """What downloads left behind, locks apart."""
        folder = self.root / ".sd-operator/partial"
        return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def answer() -> SimpleNamespace:
    """What a server can be told to answer."""
    return SimpleNamespace(serve=serve, reply=reply)


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def fetches(tmp_path: Path, server: FileServer, made: Made) -> Fetches:
    root = tmp_path / "volume"
    root.mkdir()
    server.content = made.checkpoint()
    return Fetches(root, server, tmp_path / "verdict")
