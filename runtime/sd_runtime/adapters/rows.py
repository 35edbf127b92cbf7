"""Adapters as inputs of a batch's rows: while a call runs, the modules that they change compute more for some
rows than for others.

Rows with the same adapters are taken together inside each module. (Weights gathered for every row and
multiplied as a batch were 4 % faster with four adapters in 32 rows, and need equal ranks and one kind.)
Knows nothing of files.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from sd_runtime.adapters.hypernetwork import Mlp
from sd_runtime.adapters.terms import Changeable, Term

Rows = slice | torch.Tensor
Forward = Callable[[torch.Tensor], torch.Tensor]

ALL: Rows = slice(None)


@dataclass(frozen=True, slots=True)
class Applied:
    """What one adapter changes, and how strongly."""

    outputs: Mapping[Changeable, Term]
    inputs: Mapping[nn.Linear, Mlp]
    strength: float
    rank: int | None


@dataclass(slots=True)
class Patch:
    """Everything that one module does besides itself."""

    inputs: list[tuple[Rows, Mlp, float]] = field(default_factory=list)
    outputs: list[tuple[Rows, Term, float]] = field(default_factory=list)

    def forward(self, module: Changeable, base: Forward, x: torch.Tensor) -> torch.Tensor:
        """The module's output with the changes of each row."""
        for rows, network, strength in self.inputs:
            x = _changed(x, rows, partial(network, strength=strength))
        y = base(x)
        for rows, term, strength in self.outputs:
            change = term(module, x[rows], strength)
            if isinstance(rows, slice):
                y[rows].add_(change)
            else:
                y.index_add_(0, rows, change)
        return y


Patches = Mapping[Changeable, Patch]


def rows_of(indices: Sequence[int], count: int, device: torch.device) -> Rows:
    """The rows as what selects them most cheaply."""
    if len(indices) == count:
        return ALL
    first, last = indices[0], indices[-1]
    if last - first + 1 == len(indices):
        return slice(first, last + 1)
    return torch.tensor(indices, device=device)


def patches(groups: Iterable[tuple[Rows, Sequence[Applied]]]) -> Patches:
    """What each module has to do, for groups of rows with the adapters of each in their order."""
    found: defaultdict[Changeable, Patch] = defaultdict(Patch)
    for rows, adapters in groups:
        for adapter in adapters:
            for linear, network in adapter.inputs.items():
                found[linear].inputs.append((rows, network, adapter.strength))
            for module, term in adapter.outputs.items():
                kept = term if adapter.rank is None else term.cut(adapter.rank)
                found[module].outputs.append((rows, kept, adapter.strength))
    return dict(found)


@contextmanager
def patched(changes: Patches) -> Iterator[None]:
    """The modules compute with their changes for as long as the block runs.

    `forward` is set on the instance: a hook would cost every module of the call its quick way.
    """
    before: list[tuple[Changeable, Forward | None]] = []
    try:
        for module, patch in changes.items():
            own = vars(module)
            before.append((module, own.get("forward")))
            own["forward"] = partial(patch.forward, module, module.forward)
        yield
    finally:
        for module, forward in reversed(before):
            if forward is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = forward


def _changed(x: torch.Tensor, rows: Rows, network: Forward) -> torch.Tensor:
    if isinstance(rows, slice) and rows == ALL:
        return network(x)
    # The same tensor is other modules' input, too.
    copy = x.clone()
    copy[rows] = network(x[rows])
    return copy
