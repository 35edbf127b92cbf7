"""Every sampler with every schedule, judged: `python -m benchmarks.samplers`.

The demo's checkpoint draws held-out prompts through the runtime's engine; an independent classifier says what
share of the pictures shows all that was asked for. Prints a table for each number of steps; the exit status
is 1 where, with the most steps, a combination falls below 80 % of the best.
"""

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks import table
from benchmarks.pictures import rig
from demo.judge import reading
from demo.measure.bench import held_out_prompts
from sd_runtime.engine.loop import Engine, Ticket
from sd_runtime.sampling import SAMPLERS, SCHEDULERS

CFG = 3.0
#: Of the best combination's share.
LEAST = 0.8


Shares = dict[tuple[str, str], float]


def main() -> int:
    """0 when no combination is far below the best."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=48, help="pictures for each combination")
    parser.add_argument("--steps", default="20,40", help="numbers of steps, a table for each")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="that draw at once, each with one thread"
    )
    parser.add_argument("--output", type=Path, help="a file for the tables")
    given = parser.parse_args()
    numbers = sorted(int(number) for number in given.steps.split(","))
    found = _measure(numbers, given.pictures, given.processes)
    text = _render(found, given.pictures)
    print(text)
    if given.output:
        given.output.write_text(text + "\n")
    return int(bool(_poor(found[numbers[-1]])))


def _measure(numbers: list[int], pictures: int, processes: int) -> dict[int, Shares]:
    found: dict[int, Shares] = {steps: {} for steps in numbers}
    # A fresh interpreter each: a CUDA context and torch's threads do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        under_way = {
            pool.submit(_measure_sampler, sampler.name, steps, pictures): (steps, sampler.name)
            for steps in numbers
            for sampler in SAMPLERS
        }
        for future in as_completed(under_way):
            steps, sampler = under_way[future]
            found[steps] |= {(sampler, scheduler): share for scheduler, share in future.result().items()}
            print(f"{steps} steps, {sampler}: done", file=sys.stderr, flush=True)
    return found


def _measure_sampler(sampler: str, steps: int, pictures: int) -> dict[str, float]:
    """By schedule; in a process of its own."""
    torch.set_num_threads(1)
    prompts = held_out_prompts(pictures)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rig.lay_out(root)
        options = {"max_batch": 96, "measured_batch": False}
        with rig.engine(root / rig.CHECKPOINT, root=root, calls=rig.Calls(), **options) as engine:
            drawn = {each.name: _submit(engine, prompts, sampler, each.name, steps) for each in SCHEDULERS}
            return {scheduler: _share(tickets, prompts) for scheduler, tickets in drawn.items()}


def _submit(engine: Engine, prompts: list[str], sampler: str, scheduler: str, steps: int) -> list[Ticket]:
    return [
        engine.submit(
            rig.picture(
                prompt=prompt, seed=seed, steps=steps, cfg_scale=CFG, sampler=sampler, scheduler=scheduler
            )
        )
        for seed, prompt in enumerate(prompts)
    ]


def _share(tickets: list[Ticket], prompts: list[str]) -> float:
    pictures = np.stack([ticket.future.result().pixels for ticket in tickets])
    verdicts = reading.shipped().agreement(torch.from_numpy(pictures).permute(0, 3, 1, 2), prompts)
    return reading.shares(verdicts)["all"]


def _poor(found: Shares) -> list[str]:
    best = max(found.values())
    return [
        f"{sampler} with {scheduler} ({share:.0%})"
        for (sampler, scheduler), share in found.items()
        if share < LEAST * best
    ]


def _render(found: dict[int, Shares], pictures: int) -> str:
    return "\n".join(
        [
            "# Samplers and schedules, judged",
            "",
            table.provenance_of(("runtime", "modelfiles")) + f" {rig.device_in_words()}",
            "",
            f"Share of {pictures} pictures (CFG {CFG:g}, 64x64, held-out prompts, the same seeds everywhere)"
            " that show all that was asked for.",
            *(line for steps, shares in found.items() for line in _table(steps, shares)),
        ]
    )


def _table(steps: int, found: Shares) -> list[str]:
    schedulers = [each.name for each in SCHEDULERS]
    rows = [
        f"| {sampler.name} | {' | '.join(f'{found[sampler.name, name]:.0%}' for name in schedulers)} |"
        for sampler in SAMPLERS
    ]
    poor = _poor(found)
    verdict = (
        f"Below {LEAST:.0%} of the best: {', '.join(poor)}."
        if poor
        else f"None is below {LEAST:.0%} of the best."
    )
    return [
        "",
        f"## {steps} steps",
        "",
        f"| sampler | {' | '.join(schedulers)} |",
        f"| --- | {' | '.join('---' for _ in schedulers)} |",
        *rows,
        "",
        verdict,
    ]


if __name__ == "__main__":
    sys.exit(main())
