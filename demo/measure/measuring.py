"""Measures models, several at a time, and writes each one's card."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from diffusers.utils import logging

from demo.judge import reading
from demo.measure import cards
from demo.measure.bench import Bench
from demo.measure.scores import SCORES


def measure(models: Path, names: Sequence[str], *, prompts: int, companions: int) -> None:
    """Measures models by name, one on each core, and writes their cards."""
    workers = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=_start)
    with workers:
        tasks = [workers.submit(_measure, models, name, prompts, companions) for name in names]
        for task in as_completed(tasks):
            print(task.result(), flush=True)
    for name in names:
        cards.write(models, name)


def _start() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _measure(models: Path, name: str, prompts: int, companions: int) -> str:
    """Measures one model and says what came out."""
    began = time.monotonic()
    bench = Bench(models, reading.load(models / "judge/judge.safetensors"), prompts, companions)
    tables = SCORES[name](bench)
    cards.write_scores(models, name, tables)
    took = (time.monotonic() - began) / 60
    return "\n\n".join([f"measure: {name}, {took:.1f} min", *(table.markdown() for table in tables)])
