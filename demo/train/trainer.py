"""What all training steps share: a number of steps, a learning rate that follows it, checkpoints, progress.

A training can be killed and started again at any time: its checkpoint keeps weights, their running average,
optimizer and the seconds already spent. Knows nothing of the networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from demo.train import parallel
from demo.train.optimizer import Optimizer

LOG_SECONDS = 10

LossFunction = Callable[[], dict[str, torch.Tensor]]


class Trainer:
    """Runs one training; its weights end up in `<folder>/<name>.pt`."""

    def __init__(
        self,
        *,
        folder: Path,
        name: str,
        network: nn.Module,
        steps: int,
        learning_rate: float,
        matrix_rate: float,
        ema_decay: float = 0.99,
        warmup: int = 40,
        checkpoint_seconds: float = 60,
    ) -> None:
        self.name, self.path = name, folder / f"{name}.pt"
        self.network = network
        self.steps = steps
        self.warmup = warmup
        self.checkpoint_seconds = checkpoint_seconds
        self.ema_decay = ema_decay
        self.weights: Sequence[nn.Parameter] = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = Optimizer(network, learning_rate=learning_rate, matrix_rate=matrix_rate)
        self.step = 0
        self.spent = 0.0
        self.ema = {key: value.detach().clone() for key, value in self._trained().items()}
        if self.path.exists():
            self._resume()
        # A resumed training must not draw the same batches again.
        torch.manual_seed(self.step * parallel.size() + parallel.rank())

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return self.step / self.steps

    def run(self, losses: LossFunction) -> None:
        """Trains until all steps are done. `losses` draws a batch; its entry `loss` is minimised."""
        if self.step >= self.steps:
            return
        before = saved = logged = time.monotonic()
        while self.step < self.steps:
            self._set_learning_rate()
            values = losses()
            torch.autograd.backward(values["loss"])
            parallel.average([weight.grad for weight in self.weights if weight.grad is not None])
            nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimizer.step()
            self.step += 1
            self._update_ema()
            now = time.monotonic()
            self.spent, before = self.spent + now - before, now
            if now - saved > self.checkpoint_seconds:
                self.save()
                saved = now
            if now - logged > min(LOG_SECONDS, self.checkpoint_seconds) or self.step == self.steps:
                self._log(values)
                logged = now
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        if parallel.rank():
            return
        partial = self.path.with_suffix(".partial")
        state = {
            "step": self.step,
            "steps": self.steps,
            "spent": self.spent,
            "network": self._trained(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, partial)
        partial.replace(self.path)

    def use_average(self) -> None:
        """Puts the running average of the weights into the network, as what the training has made."""
        self.network.load_state_dict(self.ema, strict=False)
        self.network.eval()

    def _trained(self) -> dict[str, torch.Tensor]:
        return {key: value.detach() for key, value in self.network.named_parameters() if value.requires_grad}

    def _resume(self) -> None:
        state = torch.load(self.path, weights_only=True)
        ours = {key: value.shape for key, value in self._trained().items()}
        if {key: value.shape for key, value in state["ema"].items()} != ours:
            raise ValueError(f"{self.path} is of another network; `python -m demo.remake --fresh` forgets it")
        self.network.load_state_dict(state["network"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.step, self.spent = state["ema"], state["step"], state["spent"]
        if not parallel.rank():
            print(f"{self.name}: {self.step} of {self.steps} steps are done", flush=True)

    def _set_learning_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        self.optimizer.set_rate(warm * max(cosine, 0.02))

    def _log(self, values: dict[str, torch.Tensor]) -> None:
        if parallel.rank():
            return
        numbers = " ".join(f"{key} {float(value.detach()):.4f}" for key, value in values.items())
        left = self.spent / self.step * (self.steps - self.step) / 60
        print(f"{self.name}: step {self.step} of {self.steps}, {left:.1f} min left, {numbers}", flush=True)

    @torch.no_grad()
    def _update_ema(self) -> None:
        # A short average at first: an early checkpoint would otherwise be mostly random weights.
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.ema.values()), list(self._trained().values()), 1 - decay)


def is_finished(folder: Path, name: str) -> bool:
    """Whether a training has been done to its end."""
    path = folder / f"{name}.pt"
    if not path.exists():
        return False
    state = torch.load(path, weights_only=True, mmap=True)
    return bool(state["step"] >= state["steps"])


def record(folder: Path, name: str) -> dict[str, float]:
    """The steps of a training and the minutes that they took."""
    state = torch.load(folder / f"{name}.pt", weights_only=True, mmap=True)
    return {"steps": int(state["step"]), "minutes": round(float(state["spent"]) / 60, 1)}


def load(folder: Path, name: str, network: nn.Module) -> None:
    """Puts a training's averaged weights into what it trained of a network: all that wants gradients.

    Raises ValueError where the two do not fit.
    """
    state = torch.load(folder / f"{name}.pt", weights_only=True)["ema"]
    wanted = {key for key, value in network.named_parameters() if value.requires_grad}
    if strangers := sorted(wanted ^ set(state)):
        raise ValueError(f"{name}: not both in the training and the network: {', '.join(strangers[:5])}")
    network.load_state_dict(state, strict=False)
