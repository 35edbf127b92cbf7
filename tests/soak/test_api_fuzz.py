"""The users' port under a property-based tool that reads /openapi.json and sends what it allows and what it
does not: no 500, no hang, flat memory.

SOAK_FUZZ_SECONDS  for so long (600)
"""

import os
import subprocess
import sys
import threading
import time
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
            done = subprocess.run(
                [
                    *(
                        str(Path(sys.executable).parent / "schemathesis"),
                        "run",
                        f"{server.address}/openapi.json",
                    ),
                    *("--checks", "not_a_server_error", "--max-time", str(SECONDS), "--workers", "4"),
                    *("--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"),
                    *("--request-timeout", str(SLOWEST_SECONDS), "--max-response-time", str(SLOWEST_SECONDS)),
                    *("--phases", "examples,coverage,fuzzing", "--no-color"),
                ],
                capture_output=True,
                text=True,
                timeout=SECONDS + 600,
                cwd=tmp_path,
                check=False,
            )
        finally:
            over.set()
            watcher.join()
        print(done.stdout[-6000:])
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert server.process.poll() is None
        assert len(server.picture()["images"]) == 1
    settled = max(rss for seconds, rss in samples if seconds <= SECONDS / 3)
    last = samples[-1][1]
    summary = [line for line in done.stdout.splitlines() if "generated" in line or "passed" in line]
    memory = f"memory {settled:.0f} MiB after a third, {last:.0f} MiB at the end"
    told = f"{SECONDS} s, {memory}; {'; '.join(summary)}"
    print(told)
    if os.environ.get("SOAK_EVIDENCE"):
        text = f"{provenance_of(('runtime', 'modelfiles'))}\n\nschemathesis against /openapi.json: {told}\n"
        (EVIDENCE / "api-fuzz.txt").write_text(text)
    if last > settled + GROWTH_MIB:
        pytest.fail(f"memory grew: {told}")
