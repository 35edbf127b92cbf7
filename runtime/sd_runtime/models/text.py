"""Text encoders: whole chunks of tokens to the states the network attends to.

One class per way of conditioning; both answer the same question, so nothing else needs to know the family.
They know no grammar, weights or chunk borders: they get begin, 75 tokens, end.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from sd_runtime.errors import UnsupportedError


@dataclass(frozen=True, slots=True, eq=False)
class TextStates:
    """States of every chunk, apart for each encoder, and for families that want it one vector of the first
    chunk.
    """

    states: tuple[torch.Tensor, ...]  # each (N, 77, D_i), float32
    pooled: torch.Tensor | None  # (1, P), float32


class TextEncoder(Protocol):
    """What the rest of the runtime needs of text encoders."""

    # Whether an empty negative prompt is all zeros instead of the states of an empty text.
    zeroes_empty_negative: bool

    @property
    def layers(self) -> int:
        """Of the first encoder: the greatest clip_skip that means anything."""
        ...

    def encode(self, tokens: list[list[int]], clip_skip: int) -> TextStates:
        """Encode chunks of 77 tokens."""
        ...


class ClipEncoder:
    """SD15: CLIP's text model; states without the last `clip_skip - 1` layers, then the final norm."""

    zeroes_empty_negative = False

    def __init__(self, network: Any) -> None:
        self.network = network

    @property
    def layers(self) -> int:
        """The layers of the text model."""
        return int(self.network.config.num_hidden_layers)

    def encode(self, tokens: list[list[int]], clip_skip: int) -> TextStates:
        """Encode chunks of 77 tokens."""
        if clip_skip > self.layers:
            allowed = f"1 to {self.layers}, the layers of this model's text encoder"
            raise UnsupportedError("clip_skip", clip_skip, allowed)
        output = self.network(_ids(tokens, self.network), output_hidden_states=clip_skip > 1)
        states: torch.Tensor = output.last_hidden_state
        if clip_skip > 1:
            states = self.network.final_layer_norm(output.hidden_states[-clip_skip])
        return TextStates((states.float(),), None)


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

    def encode(self, tokens: list[list[int]], clip_skip: int) -> TextStates:
        """Encode chunks of 77 tokens."""
        end = self.second.config.eos_token_id
        first = self.first(_ids(tokens, self.first), output_hidden_states=True)
        # OpenCLIP's padding is 0, where CLIP repeats the end mark.
        second = self.second(
            _ids([_pad_with_zero(row, end) for row in tokens], self.second), output_hidden_states=True
        )
        states = (first.hidden_states[-2].float(), second.hidden_states[-2].float())
        return TextStates(states, second.text_embeds[:1].float())


def _pad_with_zero(tokens: list[int], end: int) -> list[int]:
    content = tokens.index(end) + 1
    return tokens[:content] + [0] * (len(tokens) - content)


def _ids(tokens: list[list[int]], network: Any) -> torch.Tensor:
    return torch.tensor(tokens, device=network.device)
