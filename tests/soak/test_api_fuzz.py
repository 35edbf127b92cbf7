"""The users' port under a property-based tool that reads /openapi.json and sends what it allows and what it
does not: no 500, no hang, flat memory.

SOAK_FUZZ_SECONDS  for so long (600)
"""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.table import provenance_of
from tests.soak.server import serving
from tests.soak.telling import EVIDENCE

SECONDS = int(os.environ.get("SOAK_FUZZ_SECONDS", "600"))
#: Of memory at the end, beyond the most of the first third: caches fill, arenas settle.
GROWTH_MIB = 160
#: So that what is allowed is computed within seconds on a processor.
LIMITS = {
    "max_side": "128",
    "max_steps": "6",
    "max_batch_size": "2",
    "max_iterations": "2",
    "image_urls": "off",
}
SLOWEST_SECONDS = 120
#: No 500; and what is answered is what /openapi.json says.
CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance"
#: The tool has threads of its own, but in one process CPython 3.11 trips over its parser then.
PROCESSES = 3


def test_nothing_that_is_sent_makes_it_fail_hang_or_grow(tmp_path: Path) -> None:
    with serving(tmp_path, **LIMITS) as server:
        begun = time.monotonic()
        samples: list[tuple[float, float]] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(5):
                samples.append((time.monotonic() - begun, server.rss_mib()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            runs = _fuzz(server.address, tmp_path)
        finally:
            over.set()
            watcher.join()
        for run in runs:
            print(run.stdout[-3000:])
        for run in runs:
            assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
        assert server.process.poll() is None
        assert len(server.picture()["images"]) == 1
    settled = max(rss for seconds, rss in samples if seconds <= SECONDS / 3)
    last = samples[-1][1]
    cases = [line.strip() for run in runs for line in run.stdout.splitlines() if "generated" in line]
    memory = f"memory {settled:.0f} MiB after a third, {last:.0f} MiB at the end"
    told = f"{SECONDS} s, {memory}; {'; '.join(cases)}"
    print(told)
    if os.environ.get("SOAK_EVIDENCE"):
        of = provenance_of(("runtime", "modelfiles"))
        text = f"{of}\n\n{PROCESSES} processes of schemathesis against /openapi.json: {told}\n"
        (EVIDENCE / "api-fuzz.txt").write_text(text)
    if last > settled + GROWTH_MIB:
        pytest.fail(f"memory grew: {told}")


def _fuzz(address: str, folder: Path) -> "list[subprocess.CompletedProcess[str]]":
    def one(number: int) -> "subprocess.CompletedProcess[str]":
        own = folder / f"fuzz-{number}"
        own.mkdir()
        return subprocess.run(
            [
                *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{address}/openapi.json"),
                *("--checks", CHECKS, "--max-time", str(SECONDS), "--workers", "1"),
                *("--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"),
                *("--request-timeout", str(SLOWEST_SECONDS), "--max-response-time", str(SLOWEST_SECONDS)),
                *("--phases", "examples,coverage,fuzzing", "--no-color"),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS + 600,
            cwd=own,
            check=False,
        )

    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(one, range(PROCESSES)))
