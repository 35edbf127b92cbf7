"""One row of the fault table: a volume with a reader, the fetches onto it, and what must hold of them.

The fetcher is the real process, `python -m sd_operator.fetch`, told what to do as its Job tells it.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak import rehearsal
from tests.soak.fetching.reader import HIDDEN, Reader
from tests.soak.fetching.server import MIB, MODEL, Server

#: What a kill may cost: no more bytes than this are downloaded again.
CHUNK_BYTES = 16 * MIB
FOLDER = "models/Stable-diffusion"
VERDICT_LIMIT = 4096
#: Whatever the size of the file.
MEMORY_BYTES = 100 * MIB
#: Longer than all waiting that the fetcher allows itself.
PATIENCE_SECONDS = 480.0


@dataclass(slots=True)
class Try:
    """One process of the fetcher."""

    process: subprocess.Popen[bytes]
    log: Path
    verdict: Path
    exit: int | None = None
    peak_rss: int = 0
    #: What was done to it: "killed at 50 %".
    done: str = ""
    #: The verdict; empty for one that was killed.
    told: dict[str, Any] = field(default_factory=dict)

    def running(self) -> bool:
        if self.exit is None:
            self._note_memory()
            code = self.process.poll()
            self.exit = code
        return self.exit is None

    def wait(self, seconds: float = PATIENCE_SECONDS) -> "Try":
        """Until it has ended; its verdict is read."""
        deadline = time.monotonic() + seconds
        while self.running():
            assert time.monotonic() < deadline, f"still running after {seconds:.0f} s:\n{self.tail()}"
            time.sleep(0.02)
        raw = self.verdict.read_bytes() if self.verdict.exists() else b""
        assert len(raw) <= VERDICT_LIMIT, f"a verdict of {len(raw)} bytes"
        self.told = json.loads(raw) if raw else {}
        return self

    def kill(self) -> None:
        self.process.kill()
        self.wait(10)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def __str__(self) -> str:
        if self.done:
            return self.done
        return str(self.told.get("reason") or self.told.get("state") or f"exit {self.exit}")

    def _note_memory(self) -> None:
        """The peak so far. What wait4 tells is that of the parent, where the parent has more."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                self.peak_rss = int(found.group(1)) * 1024


class Scene:
    """A row's own volume, case of the server, and Secrets."""

    def __init__(self, server: Server, case: str, folder: Path) -> None:
        self.server = server
        self.case = case
        self.folder = folder
        self.root = folder / "volume"
        self.credentials = folder / "credentials"
        for made in (self.root, self.credentials):
            made.mkdir(parents=True)
        self.tries: list[Try] = []
        #: Bytes that may be sent twice.
        self.allowed_twice = CHUNK_BYTES
        self.may_start_over = False
        self.reader = Reader(self.root)
        self.reader.whole.update(server.digests.values())

    def starts_over(self) -> None:
        """The source cannot go on where it was, or nobody can know that it is the same file."""
        self.may_start_over = True
        self.allowed_twice = self.server.size(MODEL) + CHUNK_BYTES

    # --- fetching

    def address(self, name: str = MODEL, **plan: Any) -> str:
        return self.server.address(self.case, name, **plan)

    def start(
        self, *addresses: str, bundle: str = "bundle", env: dict[str, str] | None = None, **file: Any
    ) -> Try:
        """A fetch from the first address, with the others as mirrors."""
        policy = file.pop("formatPolicy", "SafetensorsOnly")
        words = {
            "name": "base",
            "type": "Checkpoint",
            "family": "Auto",
            "sources": [{"http": {"url": address}} for address in addresses],
            "sha256": None,
            "fileName": None,
        } | file
        request = {"bundle": bundle, "formatPolicy": policy, "file": words}
        number = len(self.tries)
        log, verdict = self.folder / f"log-{number}", self.folder / f"verdict-{number}"
        source = rehearsal.source()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(str(source / each) for each in ("modelfiles", "operator")),
            "SD_FETCH_FILE": json.dumps(request),
            "SD_FETCH_ROOT": str(self.root),
            "SD_FETCH_CREDENTIALS": str(self.credentials),
            "SD_FETCH_VERDICT": str(verdict),
            "SD_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
            "SD_FETCH_PORT": "0",
        } | (env or {})
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "sd_operator.fetch"], env=environment, stdout=output, stderr=output
            )
        self.tries.append(Try(process, log, verdict))
        return self.tries[-1]

    def run(self, *addresses: str, **words: Any) -> Try:
        return self.start(*addresses, **words).wait()

    def until_sent(self, share: float, fetch: Try, name: str = MODEL) -> None:
        """Wait until the server has sent this share of the file; the fetch must run meanwhile."""
        wanted = share * self.server.size(name)
        self.until(lambda: self.server.sent(self.case) >= wanted, fetch)

    def until(self, reached: Callable[[], bool], fetch: Try, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert fetch.running(), f"the fetch has ended: {fetch.wait()}\n{fetch.tail()}"
            assert time.monotonic() < deadline, f"it did not happen in {seconds:.0f} s\n{fetch.tail()}"
            time.sleep(0.02)

    # --- what must hold

    def verified(self, fetch: Try, *, name: str = MODEL, path: str = "") -> None:
        """The file is in place, whole, known to the manifest, and nothing is left of the download."""
        assert (fetch.exit, fetch.told.get("state")) == (0, "Verified"), self.say(fetch)
        path = path or f"{FOLDER}/{name}"
        digest, size = self.server.digests[name], self.server.size(name)
        told = {word: fetch.told[word] for word in ("path", "size", "sha256")}
        assert told == {"path": path, "size": size, "sha256": digest}, told
        with (self.root / path).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest
        entry = next((entry for entry in self.entries() if entry["path"] == path), None)
        assert entry is not None, f"the manifest has no {path}"
        assert (entry["size"], entry["sha256"]) == (size, digest), entry
        assert not self.left(), f"left of the download: {self.left()}"

    def failed(self, fetch: Try, *reasons: str, retryable: bool) -> None:
        """One of the reasons, with the exit status that goes with it; nothing became visible by it."""
        assert fetch.told.get("state") == "Failed", self.say(fetch)
        assert fetch.told["reason"] in reasons, self.say(fetch)
        assert fetch.told["retryable"] is retryable, self.say(fetch)
        # 3: the Job's next pod would be too early for the source.
        passing = 3 if fetch.told.get("retryAfter", 0) > 10 else 1
        assert fetch.exit == (passing if retryable else 2), self.say(fetch)
        assert fetch.told["message"], "a verdict without a message"

    def end(self) -> None:
        """No process outlives its row."""
        for each in self.tries:
            if each.running():
                each.kill()

    def nothing_visible(self) -> None:
        assert not self.visible(), f"visible: {self.visible()}"

    def holds(self) -> None:
        """What must hold at the end of every row."""
        strangers = [*self.reader.wrong, *self.reader.strangers()]
        assert not strangers, f"a reader saw: {strangers}"
        twice = self.twice()
        assert twice < self.allowed_twice, f"{twice} bytes were sent twice"
        assert self.peak_rss() < MEMORY_BYTES, f"the fetcher took {self.peak_rss()} bytes of memory"
        assert not self.server.trap.exists(), "the code of a pickle was run"

    def peak_rss(self) -> int:
        return max((each.peak_rss for each in self.tries), default=0)

    def twice(self) -> int:
        return sum(path["twice"] for path in self.server.told(self.case).values())

    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.root / HIDDEN / "manifest.json").read_bytes())["files"]
        return found

    def visible(self) -> list[str]:
        files = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in files if path.parts[0] != HIDDEN)

    def left(self) -> list[str]:
        folder = self.root / HIDDEN / "partial"
        return sorted(path.name for path in folder.glob("*") if path.suffix != ".lock")

    @staticmethod
    def say(fetch: Try) -> str:
        return f"exit {fetch.exit}, {json.dumps(fetch.told)[:800]}\n{fetch.tail()}"

    # --- Secrets

    def secret(self, name: str, **values: str) -> None:
        """Write a Secret, or change it, the way a kubelet does: all of its files in one rename."""
        folder = self.credentials / name
        folder.mkdir(exist_ok=True)
        version = Path(tempfile.mkdtemp(prefix="..", dir=folder))
        for key, value in values.items():
            (version / key).write_text(value)
            if not (folder / key).is_symlink():
                (folder / key).symlink_to(f"..data/{key}")
        new = folder / "..data_tmp"
        new.symlink_to(version.name)
        new.rename(folder / "..data")


def outcome(tries: Collection[Try]) -> str:
    """What the processes of a row came to, in a few words."""
    return ", then ".join(str(each) for each in tries)
