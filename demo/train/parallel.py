"""Trains on all cores: one process each, which takes its share of every batch; their gradients are averaged.

On small networks this is faster than the same cores inside each operation, where they mostly wait for each
other. Outside of `run` there is one process, and every function here says so.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

_multiprocessing: Any = multiprocessing  # has no types

MOST = 8  # the smallest batch has eight rows


def run(job: Callable[..., None], *arguments: Any) -> None:
    """Runs a job once on every core; a failure in one ends them all and is raised here."""
    count = min(len(os.sched_getaffinity(0)), MOST)
    with tempfile.TemporaryDirectory() as folder:
        _multiprocessing.spawn(_work, (count, Path(folder) / "meeting", job, arguments), nprocs=count)


def rank() -> int:
    """This process's number; 0 is the one that speaks and writes files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes share the work."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(batch: int) -> int:
    """How many rows of a batch are this process's."""
    return max(1, batch // size())


def average(gradients: Sequence[torch.Tensor]) -> None:
    """Replaces gradients by their mean over all processes, in place."""
    if size() == 1:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= size()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _work(rank: int, count: int, meeting: Path, job: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    try:
        job(*arguments)
    finally:
        distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    """Ends this process when the one that started it is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
