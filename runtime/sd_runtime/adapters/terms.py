"""What a LoRA adds to the output of one module, for some rows: a change of its weight that is never added to
the weight.

The kinds: LoRA (Hu et al. 2021, arXiv:2106.09685) and the same for convolutions (LoCon), LoHa (Hyeon-Woo et
al. 2021, arXiv:2108.06098) and LoKr, as LyCORIS (Yeh et al. 2023, arXiv:2309.14859) writes them. Knows
nothing of files and names.
"""

from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from sd_runtime.adapters.files import Unusable

Changeable = nn.Linear | nn.Conv2d
Factors = tuple[torch.Tensor, ...]


class Term(Protocol):
    """A change of one module's weight."""

    def __call__(self, module: Changeable, x: torch.Tensor, strength: float) -> torch.Tensor:
        """What is added to the module's output for this input."""
        ...

    def cut(self, rank: int) -> "Term":
        """The same with no more than so many of its ranks, where it has ranks that stand alone."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """up @ down; of a convolution down has the kernel, or `mid` between them (Tucker)."""

    down: torch.Tensor  # (r, in) or (r, in, kh, kw)
    up: torch.Tensor  # (out, r) or (out, r, 1, 1)
    mid: torch.Tensor | None  # (r, r, kh, kw), then down is (r, in, 1, 1)
    scale: float

    def __call__(self, module: Changeable, x: torch.Tensor, strength: float) -> torch.Tensor:
        """Computed through the rank, which is what makes it cheap; scaled there, where float16 has room."""
        factor = self.scale * strength
        if isinstance(module, nn.Linear):
            return functional.linear(functional.linear(x, self.down) * factor, self.up)
        if self.mid is None:
            narrow = _convolve(module, x, self.down)
        else:
            narrow = _convolve(module, functional.conv2d(x, self.down), self.mid)
        return functional.conv2d(narrow * factor, self.up)

    def cut(self, rank: int) -> "LowRank":
        """The first ranks, whose scale stays (A1111's `dyn`)."""
        if self.mid is not None or rank >= len(self.down):
            return self
        return LowRank(self.down[:rank], self.up[:, :rank], None, self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Hadamard:
    """LoHa: the elementwise product of two low-rank matrices; with cores it is Tucker's form."""

    first: Factors  # (out, r), (r, in); with a core (r, r, kh, kw), (r, out), (r, in)
    second: Factors
    shape: torch.Size
    scale: float

    def __call__(self, module: Changeable, x: torch.Tensor, strength: float) -> torch.Tensor:
        """The whole change is made for each call: it is as large as the module, its factors are small."""
        return _by_weight(module, x, self.weight(self.scale * strength))

    def weight(self, factor: float = 1.0) -> torch.Tensor:
        """The change of the module's weight."""
        return (_product(self.first) * factor * _product(self.second)).reshape(self.shape)

    def cut(self, rank: int) -> "Hadamard":
        """Its ranks do not stand alone."""
        del rank
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Kronecker:
    """LoKr: the Kronecker product of two matrices, each whole or low-rank."""

    first: Factors  # (a, b), or (a, r), (r, b)
    second: Factors  # (c, d[, kh, kw]), or factors; with a core as in LoHa
    shape: torch.Size
    scale: float

    def __call__(self, module: Changeable, x: torch.Tensor, strength: float) -> torch.Tensor:
        """The whole change is made for each call, as LoHa's."""
        return _by_weight(module, x, self.weight(self.scale * strength))

    def weight(self, factor: float = 1.0) -> torch.Tensor:
        """The change of the module's weight."""
        first, second = _product(self.first) * factor, _product(self.second)
        first = first.reshape(*first.shape, *(1 for _ in second.shape[2:]))
        return torch.kron(first, second.contiguous()).reshape(self.shape)

    def cut(self, rank: int) -> "Kronecker":
        """Its ranks do not stand alone."""
        del rank
        return self


def low_rank(
    module: Changeable, down: torch.Tensor, up: torch.Tensor, mid: torch.Tensor | None, *, scale: float
) -> LowRank:
    """Shaped for the module; raises Unusable when the matrices are of other sizes."""
    out, into, *kernel = module.weight.shape
    rank = len(down)
    wanted_down = (rank, into, *(kernel if mid is None else [1 for _ in kernel]))
    wanted_up = (out, rank, *(1 for _ in kernel))
    # A 1x1 convolution in one model is a linear layer in another, and files have either form for both.
    fits = _is_form_of(down, wanted_down) and _is_form_of(up, wanted_up)
    if mid is not None:
        fits = fits and bool(kernel) and mid.shape == (rank, rank, *kernel)
    if not fits:
        raise _misfit(module, down, up, mid)
    return LowRank(down.reshape(wanted_down), up.reshape(wanted_up), mid, scale)


def hadamard(module: Changeable, first: Factors, second: Factors, *, scale: float) -> Hadamard:
    """For the module; raises Unusable when the factors do not make a change of its sizes."""
    made = _made(first)
    if made is None or made != _made(second) or not _is_form_of_sizes(made, module.weight.shape):
        raise _misfit(module, *first, *second)
    return Hadamard(first, second, module.weight.shape, scale)


def kronecker(module: Changeable, first: Factors, second: Factors, *, scale: float) -> Kronecker:
    """For the module; raises Unusable when the factors do not make a change of its sizes."""
    left, right = _made(first), _made(second)
    if left is None or right is None or len(left) != 2:
        raise _misfit(module, *first, *second)
    made = (left[0] * right[0], left[1] * right[1], *right[2:])
    if not _is_form_of_sizes(made, module.weight.shape):
        raise _misfit(module, *first, *second)
    return Kronecker(first, second, module.weight.shape, scale)


def _made(factors: Factors) -> tuple[int, ...] | None:
    """The sizes of the factors' product, without making it: a stranger's may be larger than the memory."""
    sizes = [tuple(factor.shape) for factor in factors]
    match sizes:
        case [(_, _) | (_, _, _, _) as matrix]:
            return matrix
        case [(out, inner), (rank, into)] if inner == rank:
            return out, into
        case [(r, s, *kernel), (rows, out), (columns, into)] if (r, s) == (rows, columns):
            return out, into, *kernel
    return None


def _is_form_of(tensor: torch.Tensor, wanted: tuple[int, ...]) -> bool:
    return _is_form_of_sizes(tuple(tensor.shape), wanted)


def _is_form_of_sizes(sizes: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """The same but for how the inputs, and a kernel with them, are written down."""
    return len(sizes) >= 2 and sizes[0] == wanted[0] and prod(sizes[1:]) == prod(wanted[1:])


def _product(factors: Factors) -> torch.Tensor:
    match factors:
        case (matrix,):
            return matrix
        case (left, right):
            return left @ right
        case (core, left, right):
            # (r, s, kh, kw), (r, out), (s, in) -> (out, in, kh, kw)
            return torch.einsum("rskl,ro,si->oikl", core, left, right)
    raise RuntimeError(f"{len(factors)} factors")


def _by_weight(module: Changeable, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, weight) if isinstance(module, nn.Linear) else _convolve(module, x, weight)


def _convolve(module: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """With the module's own stride and padding, which wraps around when pictures are to tile."""
    convolved: torch.Tensor = module._conv_forward(x, weight, None)
    return convolved


def _misfit(module: Changeable, *tensors: torch.Tensor | None) -> Unusable:
    sizes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors if tensor is not None)
    return Unusable(f"of the sizes {sizes}, for a module of {tuple(module.weight.shape)}")
