"""The test servers as a process, on free ports of loopback: 127.0.0.2 is the other host."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

REPOSITORY = Path(__file__).parents[3]
VERSION = {
    "id": 7,
    "name": "v1",
    "model": "Seven",
    "type": "LORA",
    "baseModel": "SD 1.5",
    "trainedWords": ["seven"],
    "access": "login",
    "images": [],
    "files": [{"path": "seven.safetensors", "type": "Model"}, {"path": "seven.pt", "type": "Model"}],
}


@dataclass(frozen=True)
class Sources:
    ports: dict[str, int]
    root: Path
    client: httpx.Client

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(
            self.base + path, headers={key.replace("_", "-"): headers[key] for key in headers}
        )

    def told(self, path: str) -> Any:
        return self.get(f"/_stats?prefix={path}").json()[path]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    root = tmp_path_factory.mktemp("sources")
    content = bytes(range(256)) * 400
    for name in (
        "files/seven.safetensors",
        "hub/open/seven/seven.safetensors",
        "s3/models/a b+é/seven.safetensors",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "files/seven.pt").write_bytes(b"a pickle")
    (root / "files/other.safetensors").write_bytes(content[::-1])
    for access in ("private", "gated"):
        (root / "hub" / access).mkdir()
        (root / "hub" / access / "seven").symlink_to("../open/seven")
    (root / "civitai.json").write_text(json.dumps([VERSION]))
    command = [sys.executable, "-m", "tests.sources.server", "--root", str(root), "--port", "0"]
    command += [
        "--tls-port",
        "0",
        "--s3-port",
        "0",
        "--host",
        "127.0.0.1",
        "--host",
        "127.0.0.2",
        "--cdn",
        "127.0.0.2",
    ]
    with (
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process,
        httpx.Client(trust_env=False) as client,
    ):
        assert process.stdout is not None
        try:
            yield Sources(json.loads(process.stdout.readline()), root, client)
        finally:
            process.terminate()
