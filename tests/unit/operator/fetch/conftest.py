"""Fetches onto a volume of their own, in this process or in one of their own, from a server on loopback."""

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sd_modelfiles import manifest
from sd_modelfiles.manifest import Entry
from sd_operator.fetch import network, partial, request, task
from sd_operator.fetch.credentials import Credentials
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.patience import Patience
from sd_operator.fetch.progress import Progress
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Verified
from tests.unit.operator.fetch.file_server import FileServer, reply, serve
from tests.unit.operator.fetch.made_files import Made

REPOSITORY = Path(__file__).parents[4]


# No time is lost between attempts, and every byte is progress.
PATIENCE = Patience(attempts=3, first_wait=0.0, progress_bytes=1)


@dataclass
class Fetches:
    """Fetches onto one volume."""

    root: Path
    server: FileServer
    verdict: Path
    bundle: str = "demo"
    policy: str = "SafetensorsOnly"
    connections: int = 1
    patience: Patience = PATIENCE
    environment: dict[str, str] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def at(self, path: str) -> dict[str, Any]:
        """A source of the server."""
        return {"http": {"url": f"{self.server.address}/{path}"}}

    def words(self, **changes: Any) -> dict[str, Any]:
        """The request; `source` stands for the only one of `sources`."""
        source = changes.pop("source", {"http": {"url": self.server.url}})
        file = {"name": "base", "type": "Checkpoint", "family": "Auto", "sources": [source]} | changes
        return {"bundle": self.bundle, "formatPolicy": self.policy, "file": file}

    def variables(self) -> dict[str, str]:
        return {
            "SD_FETCH_ROOT": str(self.root),
            "SD_FETCH_SOURCES": str(self.root.parent / "sources"),
            "SD_FETCH_CREDENTIALS": str(self.root.parent / "credentials"),
            "SD_FETCH_CONNECTIONS": str(self.connections),
            "SD_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
            "SD_FETCH_PORT": "0",
            "HF_ENDPOINT": f"{self.server.address}/hub",
            "CIVITAI_ENDPOINT": f"{self.server.address}/civitai",
            **self.environment,
        }

    def run(self, *, patience: Patience | None = None, stop: Stop | None = None, **changes: Any) -> Verified:
        """In this process, without waiting between attempts."""
        known = Settings(**self.variables())
        self.progress = Progress()
        with network.open_client(known, Credentials(known.credentials)) as client:
            return task.run(
                Errand(
                    request=request.parse(json.dumps(self.words(**changes))),
                    settings=known,
                    client=client,
                    patience=patience or self.patience,
                    progress=self.progress,
                    stop=stop or Stop(),
                )
            )

    def counted(self, name: str, **labels: str) -> float:
        """A number of the last fetch in this process."""
        return self.progress.registry.get_sample_value(name, labels) or 0.0

    def start(
        self, *, under: tuple[str, ...] = (), env: dict[str, str] | None = None, **changes: Any
    ) -> subprocess.Popen[str]:
        """In a process of its own, as the Job's pod does it."""
        return self.start_with(
            under=under, env={"SD_FETCH_FILE": json.dumps(self.words(**changes)), **(env or {})}
        )

    def start_with(
        self, *, module: str = "sd_operator.fetch", under: tuple[str, ...] = (), env: dict[str, str]
    ) -> subprocess.Popen[str]:
        path = os.pathsep.join(str(REPOSITORY / each) for each in ("modelfiles", "operator"))
        always = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "SD_FETCH_VERDICT": str(self.verdict)}
        process = subprocess.Popen(
            [*under, sys.executable, "-m", module],
            env={**always, **self.variables(), **env},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def end_all(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def upkeep(self, **wanted: Any) -> subprocess.Popen[str]:
        words = json.dumps({"bundle": self.bundle, **wanted})
        return self.start_with(module="sd_operator.fetch.upkeep", env={"SD_FETCH_UPKEEP": words})

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
        return self.root / f".sd-operator/partial/{self.bundle}--base.part"

    def arrived(self) -> int:
        """How many bytes the partial download has, by its journal."""
        raw = self.part.with_suffix(".journal").read_bytes()
        return sum(struct.unpack(f"<{len(raw) // 4}I", raw))

    def left_partial(
        self, *, etag: str | None = '"one"', identity: str | None = None, **notes: Any
    ) -> Partial:
        """A partial download, as an earlier fetch of the server's file left it; to be filled and closed."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        left = Partial(self.root, f"{self.bundle}--base", f"{self.bundle}/base")
        total = notes.pop("total", len(self.server.content))
        left.begin(
            identity=identity or self.server.url, etag=etag, version=None, total=total, promise=None, **notes
        )
        return left

    def change_notes(self, **changes: Any) -> None:
        path = self.part.with_suffix(".json")
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def entries(self) -> list[Entry]:
        return list(manifest.load(self.root).files)

    def visible(self) -> list[str]:
        """Every file outside the operator's own folder."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if path.parts[0] != ".sd-operator")

    def left(self) -> list[str]:
        """What downloads left behind, locks apart."""
        folder = partial.folder_of(self.root)
        return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")

    def of(self, **changes: Any) -> "Fetches":
        """The same, but for some of it: another bundle, another policy."""
        return replace(self, **changes)


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
def fetches(tmp_path: Path, server: FileServer, made: Made) -> Iterator[Fetches]:
    root = tmp_path / "volume"
    root.mkdir()
    server.content = made.checkpoint()
    fetches = Fetches(root, server, tmp_path / "verdict")
    yield fetches
    fetches.end_all()
