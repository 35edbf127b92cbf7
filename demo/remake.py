"""Remakes the demo's models from nothing: `python -m demo.remake` (make demo-models).

Every step leaves its result in the cache ($SDO_CACHE/demo-models) and is skipped when that is whole, so that
the command can be stopped at any time and given again (`--fresh` after a change to drawings or trainings).
`--budget smoke` runs every step for moments, to prove that it still runs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from demo.export import files
from demo.judge import train as judge
from demo.measure import base as measured_base
from demo.measure import measuring, pipelines
from demo.measure.scores import SCORES
from demo.train import (
    base,
    concept,
    controlnet,
    embedding,
    hypernetwork,
    latents,
    lora,
    parallel,
    trainer,
    vae,
)
from demo.train.budget import BUDGETS, FULL, SMOKE, Budget
from demo.train.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what runs, which steps it needs, and the files that it leaves; the last one ends it."""

    run: Callable[[Path, Budget], None]
    needs: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()


STEPS: dict[str, Step] = {
    "judge": Step(judge.train, (), ("judge.pt",)),
    "vae": Step(vae.train, (), ("vae.pt", vae.SCALED)),
    "latents": Step(latents.make, ("vae",), ("latents.pt",)),
    "base": Step(base.train, ("latents",), ("base.pt",)),
    "gilded": Step(lora.train_gilded, ("vae", "base"), ("gilded.pt",)),
    "midnight": Step(lora.train_midnight, ("vae", "base"), ("midnight.pt",)),
    "embedding": Step(embedding.train, ("vae", "base"), ("embedding.pt",)),
    "hypernetwork": Step(hypernetwork.train, ("vae", "base"), ("hypernetwork.pt",)),
    "vae-finetuned": Step(vae.train_decoder, ("vae",), ("vae-finetuned.pt",)),
    "controlnet": Step(controlnet.train, ("vae", "base"), ("controlnet.pt",)),
    "concept": Step(concept.train, ("vae", "base"), ("concept.pt",)),
}
NOT_TRAINED = (vae.SCALED, "latents.pt")  # files that are whole when they are there
TARGETS = {FULL.name: Path(__file__).parent / "models"}  # a smoke run leaves its files in the cache
PROMPTS = {FULL.name: (512, 96), SMOKE.name: (2, 2)}  # of the base checkpoint, of everything else


def cache_folder(budget: Budget) -> Path:
    """Where the steps' results live: outside the checkout, under $SDO_CACHE."""
    root = os.environ.get("SDO_CACHE") or str(Path.home() / ".cache/sd-operator")
    return Path(root) / "demo-models" / budget.name


def run(names: Sequence[str], folder: Path, budget: Budget) -> None:
    """Runs steps in their order. Raises ValueError before one whose needs are not done."""
    for number, (name, step) in enumerate(STEPS.items(), start=1):
        if name not in names:
            continue
        if undone := [need for need in step.needs if not is_done(need, folder)]:
            raise ValueError(
                f"step {name} needs {' and '.join(undone)}; run {'these' if undone[1:] else 'it'} first"
            )
        began = time.monotonic()
        print(f"== {name}, step {number} of {len(STEPS)}", flush=True)
        if step.run is latents.make:
            step.run(folder, budget)
        else:
            parallel.run(step.run, folder, budget)
        print(f"== {name}: {(time.monotonic() - began) / 60:.1f} min", flush=True)


def is_done(name: str, folder: Path) -> bool:
    """Whether a step has left its result, to the end."""
    last = STEPS[name].leaves[-1]
    if last in NOT_TRAINED:
        return (folder / last).exists()
    return trainer.is_finished(folder, last.removesuffix(".pt"))


def forget(names: Sequence[str], folder: Path) -> None:
    """Removes what steps have left."""
    for name in names:
        for file in STEPS[name].leaves:
            (folder / file).unlink(missing_ok=True)


def finish(trained: Path, budget: Budget) -> None:
    """Writes the files, measures them, writes their cards."""
    target = TARGETS.get(budget.name, trained / "models")
    files.write_all(target, trained, budget)
    networks = pipelines.of_training(base.load(trained), Vocabulary(), vae.load(trained))
    measured_base.reference(networks, target / "demo-sd15/reference.png")
    files.write_manifest(target, trained, budget)
    prompts, companions = PROMPTS[budget.name]
    measuring.measure(target, list(SCORES), prompts=prompts, companions=companions)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.remake", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"only these: {', '.join(STEPS)}")
    parser.add_argument("--budget", choices=BUDGETS, default=FULL.name)
    parser.add_argument(
        "--fresh", action="store_true", help="forget what earlier runs of these steps have left"
    )
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.steps) - set(STEPS)):
        parser.error(f"no step called {', '.join(unknown)}; there are {', '.join(STEPS)}")
    budget = BUDGETS[arguments.budget]
    torch.set_num_threads(os.cpu_count() or 1)
    folder = cache_folder(budget)
    names = arguments.steps or list(STEPS)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        forget(names, folder)
    try:
        run(names, folder, budget)
    except ValueError as error:
        parser.error(str(error))
    if not arguments.steps:
        finish(folder, budget)


if __name__ == "__main__":
    main()
