"""A device that a kernel has broken: every later call fails, and only a new process helps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.rig.processes import ROOT

STORY = """
import logging, sys
from pathlib import Path
import torch
from benchmarks.pictures import rig
from sd_runtime.engine.work import Encode, Host

class Breaks:
    checkpoint = None
    def run(self, model, on_step):
        yield Encode("")
        table = torch.ones(4, device="cuda")
        table[torch.tensor([9], device="cuda")] += 1
        yield Encode("what asks the device again")

logging.basicConfig()
root = Path(sys.argv[1])
ended = []
with rig.engine(root / rig.CHECKPOINT, root=root, calls=rig.Calls(), device="cuda") as engine:
    good = engine.submit(rig.picture())
    print("before:", good.future.result().pixels.shape)
    bad, bystander = engine.submit(Breaks()), engine.submit(rig.picture(steps=150))
    for name, ticket in (("breaks", bad), ("bystander", bystander)):
        print(f"{name}:", type(ticket.future.exception(60)).__name__)
    print("later:", type(engine.submit(rig.picture()).future.exception(60)).__name__)
"""


def test_a_lost_device_ends_the_engine_and_nobody_waits_for_ever(models: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORY, str(models)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.splitlines() == [
        "before: (64, 64, 3)",
        "breaks: GenerationError",
        "bystander: GenerationError",
        "later: GenerationError",
    ], done.stderr[-4000:]
    assert "the device thread ends" in done.stderr
