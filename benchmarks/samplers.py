"""Every sampler with every schedule, judged: `python -m benchmarks.samplers`.

The demo's checkpoint draws held-out prompts through the runtime's engine; an independent classifier says what
share of the pictures shows all that was asked for. Prints a table; the exit status is 1 where a combination
falls below 80 % of the best.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import table
from benchmarks.pictures import rig
from demo.judge import reading
from demo.measure.bench import held_out_prompts
from sd_runtime.engine.loop import Engine
from sd_runtime.sampling import SAMPLERS, SCHEDULERS

STEPS = 20
CFG = 3.0
#: Of the best combination's share.
LEAST = 0.8


def main() -> int:
    """0 when no combination is far below the best."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=48, help="pictures for each combination")
    parser.add_argument("--output", type=Path, help="a file for the table")
    given = parser.parse_args()
    prompts = held_out_prompts(given.pictures)
    found: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rig.lay_out(root)
        options = {"max_batch": 48, "measured_batch": False}
        with rig.engine(root / rig.CHECKPOINT, root=root, calls=rig.Calls(), **options) as engine:
            for sampler in SAMPLERS:
                began = time.monotonic()
                for scheduler in SCHEDULERS:
                    share = _share(engine, prompts, sampler.name, scheduler.name)
                    found[sampler.name, scheduler.name] = share
                print(f"{sampler.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    text = _render(found, given.pictures)
    print(text)
    if given.output:
        given.output.write_text(text + "\n")
    return int(bool(_poor(found)))


def _share(engine: Engine, prompts: list[str], sampler: str, scheduler: str) -> float:
    tickets = [
        engine.submit(
            rig.picture(
                prompt=prompt, seed=seed, steps=STEPS, cfg_scale=CFG, sampler=sampler, scheduler=scheduler
            )
        )
        for seed, prompt in enumerate(prompts)
    ]
    pictures = np.stack([ticket.future.result().pixels for ticket in tickets])
    verdicts = reading.shipped().agreement(torch.from_numpy(pictures).permute(0, 3, 1, 2), prompts)
    return reading.shares(verdicts)["all"]


def _poor(found: dict[tuple[str, str], float]) -> list[str]:
    best = max(found.values())
    return [
        f"{sampler} with {scheduler}" for (sampler, scheduler), share in found.items() if share < LEAST * best
    ]


def _render(found: dict[tuple[str, str], float], pictures: int) -> str:
    schedulers = [each.name for each in SCHEDULERS]
    lines = [
        "# Samplers and schedules, judged",
        "",
        table.provenance_of(("runtime", "modelfiles")),
        "",
        f"Share of {pictures} pictures ({STEPS} steps, CFG {CFG:g}, 64x64, held-out prompts, the same"
        " seeds everywhere) that show all that was asked for.",
        "",
        f"| sampler | {' | '.join(schedulers)} |",
        f"| --- | {' | '.join('---' for _ in schedulers)} |",
    ]
    for sampler in SAMPLERS:
        cells = [f"{found[sampler.name, name]:.0%}" for name in schedulers]
        lines.append(f"| {sampler.name} | {' | '.join(cells)} |")
    poor = _poor(found)
    verdict = (
        f"Below {LEAST:.0%} of the best: {', '.join(poor)}."
        if poor
        else f"None is below {LEAST:.0%} of the best."
    )
    return "\n".join([*lines, "", verdict])


if __name__ == "__main__":
    sys.exit(main())
