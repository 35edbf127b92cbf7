"""The optimizer of all trainings: Muon for matrices and convolutions, AdamW for everything else.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") makes every update
equally large in all directions. The convolutions here have fan-ins of hundreds of values that rise and fall
together, on which AdamW's updates add up and throw a network off; and a budget of minutes needs its fewer
steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class Optimizer:
    """Both optimizers as one. Rates are AdamW's; Muon's updates are scaled to match."""

    def __init__(self, network: nn.Module, *, learning_rate: float, matrix_rate: float) -> None:
        matrices, others = _split(network.named_parameters())
        # torch's Muon takes matrices: a convolution's kernel is seen as one, (out, in x height x width).
        self._kernels = [(weight, weight.detach().view(len(weight), -1)) for weight in matrices]
        views = [view for _, view in self._kernels]
        self._parts: list[tuple[torch.optim.Optimizer, float]] = []
        if views:
            muon = torch.optim.Muon(views, lr=matrix_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
            self._parts.append((muon, matrix_rate))
        if others:
            adam = torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.0, fused=True)
            self._parts.append((adam, learning_rate))

    def set_rate(self, share: float) -> None:
        """Uses this share of both learning rates."""
        for optimizer, rate in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * share

    def step(self) -> None:
        """Applies the gradients and forgets them."""
        for weight, view in self._kernels:
            view.grad = None if weight.grad is None else weight.grad.reshape(view.shape)
            weight.grad = None
        for optimizer, _ in self._parts:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer, _ in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for (optimizer, _), state in zip(self._parts, states, strict=True):
            optimizer.load_state_dict(state)


def _split(parameters: Iterable[tuple[str, nn.Parameter]]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Hidden layers' matrices and kernels; and embeddings, biases, norms and what is small."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.ndim >= 2 and "embedding" not in name and min(parameter.flatten(1).shape) >= 8
        (matrices if is_matrix else others).append(parameter)
    return matrices, others
