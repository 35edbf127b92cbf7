"""Text encoders: whole chunks of tokens to the states the network attends to.

One class per way of conditioning; all answer the same question, so nothing else needs to know the family.
They know no grammar, weights or chunk borders: they get begin, 75 tokens, end, and for words that no token
stands for the vectors to put in their places.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sd_runtime.errors import UnsupportedError


@dataclass(frozen=True, slots=True, eq=False)
class TextStates:
    """States of every chunk, apart for each encoder, and for families that want it one vector of the first
    chunk.
    """

    states: tuple[torch.Tensor, ...]  # each (N, 77, D_i), float32
    pooled: torch.Tensor | None  # (1, P), float32


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Vectors that stand in a chunk in place of its tokens' own."""

    chunk: int
    #: Of the first; the tokens there are of no importance, but none of them may be the end mark.
    at: int
    #: For each encoder (n, D_i), float32.
    vectors: tuple[npt.NDArray[np.float32], ...]


class TextEncoder(Protocol):
    """What the rest of the runtime needs of text encoders."""

    # Whether an empty negative prompt is all zeros instead of the states of an empty text.
    zeroes_empty_negative: bool

    @property
    def layers(self) -> int:
        """Of the first encoder: the greatest clip_skip that means anything."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Of a token's vector in each encoder."""
        ...

    def encode(
        self, tokens: Sequence[Sequence[int]], clip_skip: int, placed: Sequence[Placed] = ()
    ) -> TextStates:
        """Encode chunks of 77 tokens; raises `UnsupportedError` for a clip_skip beyond the layers."""
        ...


class _OneNetwork:
    """What encoders of a single text model have in common."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @property
    def layers(self) -> int:
        """The layers of the text model."""
        return int(self.network.config.num_hidden_layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the one encoder."""
        return (_width(self.network),)


class ClipEncoder(_OneNetwork):
    """SD15: CLIP's text model; states without the last `clip_skip - 1` layers, then the final norm."""

    zeroes_empty_negative = False

    def encode(
        self, tokens: Sequence[Sequence[int]], clip_skip: int, placed: Sequence[Placed] = ()
    ) -> TextStates:
        """Encode chunks of 77 tokens."""
        if clip_skip > self.layers:
            allowed = f"1 to {self.layers}, the layers of this model's text encoder"
            raise UnsupportedError("clip_skip", clip_skip, allowed)
        output = _run(self.network, tokens, placed, 0)
        return TextStates((_normed(self.network, output, clip_skip),), None)


class OpenClipEncoder(_OneNetwork):
    """SD2: OpenCLIP's text model; the states before its last layer, then the final norm.

    CLIP skip does not apply: the family fixes the layer (A1111 ignores it there, too).
    """

    zeroes_empty_negative = False

    def __init__(self, network: Any, *, has_last_layer: bool = True) -> None:
        """`has_last_layer`: whether the layer that is never used is there; diffusers leaves it out."""
        super().__init__(network)
        self._skip = 2 if has_last_layer else 1

    def encode(
        self, tokens: Sequence[Sequence[int]], clip_skip: int, placed: Sequence[Placed] = ()
    ) -> TextStates:
        """Encode chunks of 77 tokens."""
        output = _run(self.network, _padded_with_zero(tokens), placed, 0)
        return TextStates((_normed(self.network, output, self._skip),), None)


class ClipPairEncoder:
    """SDXL: the last but one states of two encoders, no norm; the pooled vector is the second's.

    CLIP skip does not apply: the family fixes the layer (A1111 ignores it there, too).
    """

    zeroes_empty_negative = True

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second

    @property
    def layers(self) -> int:
        """The layers of CLIP's own text model."""
        return int(self.first.config.num_hidden_layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of CLIP's own and of OpenCLIP's."""
        return _width(self.first), _width(self.second)

    def encode(
        self, tokens: Sequence[Sequence[int]], clip_skip: int, placed: Sequence[Placed] = ()
    ) -> TextStates:
        """Encode chunks of 77 tokens."""
        first = _run(self.first, tokens, placed, 0).hidden_states[-2].float()
        second = _pooled(_run(self.second, _padded_with_zero(tokens), placed, 1))
        return TextStates((first, *second.states), second.pooled)


class PooledEncoder(_OneNetwork):
    """SDXL's refiner: the last but one states of OpenCLIP alone, no norm, and its pooled vector.

    CLIP skip does not apply: the family fixes the layer (A1111 ignores it there, too).
    """

    zeroes_empty_negative = True

    def encode(
        self, tokens: Sequence[Sequence[int]], clip_skip: int, placed: Sequence[Placed] = ()
    ) -> TextStates:
        """Encode chunks of 77 tokens."""
        return _pooled(_run(self.network, _padded_with_zero(tokens), placed, 0))


def _run(network: Any, tokens: Sequence[Sequence[int]], placed: Sequence[Placed], which: int) -> Any:
    """The network's answer with all its hidden states; `which` of the encoders it is."""
    ids = torch.tensor(tokens, device=network.device)
    with _placing(network, placed, which):
        return network(ids, output_hidden_states=True)


@contextmanager
def _placing(network: Any, placed: Sequence[Placed], which: int) -> Iterator[None]:
    """Inside, the vectors replace what the table of tokens says. Positions are added behind the table, so
    that they apply to these, too."""
    if not placed:
        yield
        return

    def place(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:  # (N, 77, D)
        output = output.clone()
        for one in placed:
            vectors = torch.tensor(one.vectors[which], device=output.device, dtype=output.dtype)
            output[one.chunk, one.at : one.at + len(vectors)] = vectors
        return output

    # The text models take no vectors, only tokens; one thread uses them, so the hook meets no other call.
    hook = network.get_input_embeddings().register_forward_hook(place)
    try:
        yield
    finally:
        hook.remove()


def _pooled(output: Any) -> TextStates:
    """Of an OpenCLIP with projection."""
    return TextStates((output.hidden_states[-2].float(),), output.text_embeds[:1].float())


def _normed(network: Any, output: Any, clip_skip: int) -> torch.Tensor:
    """The states without the last `clip_skip - 1` layers, behind the final norm."""
    if clip_skip == 1:
        states: torch.Tensor = output.last_hidden_state
    else:
        # A model with a projection keeps the text model inside.
        text_model = getattr(network, "text_model", network)
        states = text_model.final_layer_norm(output.hidden_states[-clip_skip])
    return states.float()


def _padded_with_zero(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """OpenCLIP's padding is 0, where CLIP repeats the end mark."""
    # The mark is what a chunk ends with: old folders' configurations tell another number.
    contents = [list(row[: row.index(row[-1]) + 1]) for row in tokens]
    return [content + [0] * (len(row) - len(content)) for content, row in zip(contents, tokens, strict=True)]


def _width(network: Any) -> int:
    return int(network.config.hidden_size)
