"""Every step that makes the demo's models still runs, from nothing to cards, and survives being killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.measure.scores import SCORES
from demo.remake import STEPS, forget

ROOT = Path(__file__).resolve().parents[2]


def remake(cache: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo.remake", *arguments],
        cwd=ROOT,
        env=os.environ | {"SDO_CACHE": str(cache), "PYTHONPATH": ".", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def running() -> list[str]:
    """What every process was started with: arguments and environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((folder / "environ").read_text(errors="replace"))
    return found


def test_a_killed_run_goes_on_and_ends_with_every_file_and_card(tmp_path: Path) -> None:
    killed = remake(tmp_path, "--budget", "smoke")
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.startswith("base: step 2 "):  # in the middle of the longest training
            killed.send_signal(signal.SIGKILL)
            break
    killed.stdout.close()
    killed.wait(timeout=60)

    again = remake(tmp_path, "--budget", "smoke")
    output, _ = again.communicate(timeout=900)
    assert again.returncode == 0, output[-4000:]
    assert "judge: 2 of 2 steps are done" in output
    assert re.search(r"base: [2-5] of 6 steps are done", output), output

    models = tmp_path / "demo-models/smoke/models"
    manifest = json.loads((models / "manifest.json").read_text())
    for entry in manifest["files"]:
        assert hashlib.sha256((models / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert not [process for process in running() if str(tmp_path) in process]
    for name in SCORES:
        assert re.search(r"\| [\d.]+ (%|dB) \|", (models / name / "README.md").read_text()), name
        assert (models / name / "sheet.png").is_file()
    assert (models / "demo-sd15/reference.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["unet"], "no step called unet; there are judge, vae, latents, base"),
        (["--budget", "x"], "invalid choice: 'x'"),
        (["--budget", "smoke", "gilded"], "step gilded needs vae and base; run these first"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    refused = remake(tmp_path, *arguments)
    output, _ = refused.communicate(timeout=120)
    assert refused.returncode == 2
    assert said in " ".join(output.split())
    assert "Traceback" not in output


def test_fresh_forgets_only_the_steps_that_are_named(tmp_path: Path) -> None:
    for name in STEPS:
        for file in STEPS[name].leaves:
            (tmp_path / file).touch()
    forget(["gilded"], tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert "gilded.pt" not in left
    assert len(left) == sum(len(step.leaves) for step in STEPS.values()) - 1
