"""What the two training steps share: a budget of minutes, a learning rate that follows it, checkpoints.

A step trains until its minutes are used up and can be stopped and started again at any time: the
checkpoint keeps weights, optimizer and the minutes already spent. Knows nothing of the networks.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

CHECKPOINT_SECONDS = 60
LOG_STEPS = 20

LossFunction = Callable[[], dict[str, torch.Tensor]]


def cache_folder() -> Path:
    """Where checkpoints live: outside the checkout, under $SDO_CACHE."""
    root = os.environ.get("SDO_CACHE") or str(Path.home() / ".cache" / "sd-operator")
    folder = Path(root) / "demo-model"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Trainer:
    """Runs one training step (vae or unet) within its budget."""

    def __init__(
        self, *, name: str, network: nn.Module, minutes: float, learning_rate: float, ema_decay: float
    ) -> None:
        self.path = cache_folder() / f"{name}.pt"
        self.network = network
        self.budget = minutes * 60
        self.learning_rate = learning_rate
        self.ema_decay = ema_decay
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
        self.step = 0
        self.spent = 0.0
        if self.path.exists():
            self._resume()
        else:
            self.ema = {key: value.clone() for key, value in network.state_dict().items()}

    def run(self, losses: LossFunction, *, warmup: int) -> None:
        """Trains until the budget is spent. `losses` draws a batch; the entry `loss` is minimised."""
        before = saved = time.monotonic()
        while self.spent < self.budget:
            self._set_learning_rate(warmup)
            values = losses()
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(values["loss"])
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            self._update_ema()
            now = time.monotonic()
            self.spent, before = self.spent + now - before, now
            if self.step % LOG_STEPS == 0:
                numbers = " ".join(f"{key} {float(value.detach()):.4f}" for key, value in values.items())
                print(f"step {self.step} {self.spent / 60:.1f} min {numbers}", flush=True)
            if now - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = now
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        partial = self.path.with_suffix(".partial")
        state = {
            "step": self.step,
            "spent": self.spent,
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, partial)
        partial.replace(self.path)

    def _resume(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.step, self.spent = state["ema"], state["step"], state["spent"]
        print(f"resumed at step {self.step}, {self.spent / 60:.1f} min", flush=True)

    def _set_learning_rate(self, warmup: int) -> None:
        warm = min(1.0, (self.step + 1) / warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.spent / self.budget)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * warm * max(cosine, 0.02)

    @torch.no_grad()
    def _update_ema(self) -> None:
        # A short average at first: an early checkpoint would otherwise be mostly random weights.
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        for key, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.ema[key].lerp_(value, 1 - decay)
            else:
                self.ema[key].copy_(value)


def load_weights(name: str, network: nn.Module) -> None:
    """Loads a step's averaged weights into a network."""
    network.load_state_dict(torch.load(cache_folder() / f"{name}.pt", weights_only=True)["ema"])


def progress(name: str) -> dict[str, float]:
    """Steps and minutes a training step has behind it."""
    state = torch.load(cache_folder() / f"{name}.pt", weights_only=True)
    return {"steps": state["step"], "minutes": state["spent"] / 60}
