"""Trainings on several cores: gradients are averaged, shares add up, and no failure goes unheard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from demo.train import parallel

ROOT = Path(__file__).resolve().parents[3]
# Processes are started anew, so what they run has to stand in a file.
PROGRAM = """
import sys
from pathlib import Path
import torch
from demo.train import parallel

def job(folder, fails):
    rank = parallel.rank()
    gradients = [torch.full((2, 3), float(rank)), torch.full((4,), 10.0 * rank)]
    parallel.average(gradients)
    if fails and rank == parallel.size() - 1:
        raise RuntimeError("no such picture")
    numbers = [float(g.flatten()[0]) for g in gradients]
    Path(folder, str(rank)).write_text(f"{parallel.size()} {parallel.share(64)} {numbers}")

if __name__ == "__main__":
    parallel.run(job, sys.argv[1], sys.argv[2] == "fails")
"""


def run(folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    (folder / "out").mkdir()
    return subprocess.run(
        [sys.executable, str(program), str(folder / "out"), how],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_all_processes_see_the_mean_gradient_and_share_the_batch(tmp_path: Path) -> None:
    done = run(tmp_path, "works")
    assert done.returncode == 0, done.stderr
    said = [path.read_text() for path in sorted((tmp_path / "out").iterdir())]
    count = len(said)
    mean = (count - 1) / 2
    assert said == [f"{count} {64 // count} {[mean, 10 * mean]}"] * count


def test_a_failure_in_one_process_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    done = run(tmp_path, "fails")
    assert done.returncode != 0
    assert "no such picture" in done.stderr


def test_outside_of_a_run_there_is_one_process() -> None:
    gradient = torch.ones(3)
    parallel.average([gradient])
    assert (parallel.rank(), parallel.size(), parallel.share(64)) == (0, 1, 64)
    assert torch.equal(gradient, torch.ones(3))
