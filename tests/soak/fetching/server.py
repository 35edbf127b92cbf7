"""The misbehaving server as a process of this machine: 127.0.0.1, and 127.0.0.2 as the other host."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.rig.processes import ROOT
from tests.sources import made

HOST, OTHER_HOST = "127.0.0.1", "127.0.0.2"
MIB = 1024 * 1024
#: The file of most rows: more than one chunk for each of four connections.
MODEL, ANOTHER, SMALL = "model.safetensors", "another.safetensors", "small.safetensors"
#: The demo's hypernetwork, as A1111 writes one.
CLEAN = "demo-blackout.pt"
EVIL, HUGE_HEADER, OVERLAPPING = "evil.pt", "huge-header.safetensors", "overlapping.safetensors"
#: An address whose last part leads out of the folder; the server knows a file there.
CLIMBING = "..%2Fup.safetensors"
SIZES = {MODEL: 96 * MIB, ANOTHER: 96 * MIB, SMALL: 8 * MIB}


@dataclass(frozen=True, slots=True)
class Server:
    """What is served and what was asked; files are known by their names."""

    root: Path
    ports: dict[str, int]
    digests: dict[str, str]
    ca: Path
    #: Made by the pickle with code, should anybody run it.
    trap: Path

    def address(self, case: str, name: str, *, host: str = HOST, tls: str = "", **plan: object) -> str:
        """Where a file is; `tls`: https, expired or misnamed."""
        scheme, port = ("https", self.ports[tls]) if tls else ("http", self.ports["http"])
        query = f"?{urlencode(plan)}" if plan else ""
        return f"{scheme}://{host}:{port}/files/{case}/{name}{query}"

    def size(self, name: str) -> int:
        return (self.root / "files" / name).stat().st_size

    def told(self, case: str) -> dict[str, dict[str, Any]]:
        """By path: what was asked of a case, and sent."""
        address = f"http://{HOST}:{self.ports['http']}/_stats?{urlencode({'prefix': f'/files/{case}/'})}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            found: dict[str, dict[str, Any]] = json.load(answer)
        return found

    def sent(self, case: str) -> int:
        return sum(path["sent"] for path in self.told(case).values())


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The server, with files made for it."""
    files = folder / "files"
    files.mkdir(parents=True)
    digests = {
        name: made.checkpoint(files / name, size=size, seed=seed)
        for seed, (name, size) in enumerate(SIZES.items())
    }
    shutil.copy(ROOT / "demo/models/demo-blackout" / CLEAN, files)
    digests[CLEAN] = hashlib.sha256((files / CLEAN).read_bytes()).hexdigest()
    (folder / "up.safetensors").symlink_to(f"files/{SMALL}")
    trap = folder / "the-pickle-was-run"
    made.huge_header(files / HUGE_HEADER)
    made.overlapping(files / OVERLAPPING)
    made.evil_pickle(files / EVIL, f"touch {trap}")
    command = [
        sys.executable,
        "-m",
        "tests.sources.server",
        "--root",
        str(folder),
        "--port",
        "0",
        "--tls-port",
        "0",
    ]
    command += ["--host", HOST, "--host", OTHER_HOST]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            ports = json.loads(process.stdout.readline())
            ca = folder / "ca.pem"
            with urllib.request.urlopen(f"http://{HOST}:{ports['http']}/_ca.pem", timeout=30) as answer:
                ca.write_bytes(answer.read())
            yield Server(folder, ports, digests, ca, trap)
        finally:
            process.terminate()
