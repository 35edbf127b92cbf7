"""A prompt to the context the network attends to: grammar, tokens, chunks, text encoder, emphasis.

Emphasis is A1111's "Original": states are multiplied by their token's weight, then scaled so that their
mean is as before. Each encoder has its own mean.
"""

from dataclasses import dataclass

import torch

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.network import Model
from sd_runtime.prompt import chunks, grammar


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """A text as the network sees it; its length is a whole number of chunks."""

    context: torch.Tensor  # (1, 77 N, D), float32
    pooled: torch.Tensor | None = None  # (1, P), float32, in families that want it

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.context.nbytes + (0 if self.pooled is None else self.pooled.nbytes)


def encode(model: Model, text: str, clip_skip: int, *, negative: bool = False) -> Conditioning:
    """Encode one prompt, alone, so that the result depends on nothing else."""
    cut = chunks.cut((_tokenize(model, fragment) for fragment in grammar.parse(text)), _marks(model))
    if len(cut) > chunks.MAX_COUNT:
        told = f"a prompt of {len(cut)} chunks"
        allowed = f"{chunks.MAX_COUNT} chunks (of {chunks.SIZE} tokens, or fewer before a BREAK)"
        raise UnsupportedError("negative_prompt" if negative else "prompt", told, allowed)
    encoded = model.text.encode([chunk.tokens for chunk in cut], clip_skip)
    context = torch.cat([_emphasised(states, cut) for states in encoded.states], dim=-1)[None]
    pooled = encoded.pooled
    if negative and not text and model.text.zeroes_empty_negative:
        return Conditioning(context * 0, None if pooled is None else pooled * 0)
    return Conditioning(context, pooled)


def _emphasised(states: torch.Tensor, cut: list[chunks.Chunk]) -> torch.Tensor:  # (N, 77, D) -> (77 N, D)
    """One encoder's states of all chunks, weighted, one chunk behind the other."""
    return torch.cat([_emphasise(state, chunk.weights) for state, chunk in zip(states, cut, strict=True)])


def _tokenize(model: Model, fragment: grammar.Fragment) -> chunks.Run:
    if fragment.text is None:
        return chunks.Run(None)
    # Verbose off: the length warning is for callers that do not cut the text themselves.
    tokens = model.tokenizer(fragment.text, add_special_tokens=False, verbose=False)["input_ids"]
    return chunks.Run(tokens, fragment.weight)


def _marks(model: Model) -> chunks.Marks:
    tokenizer = model.tokenizer
    return chunks.Marks(
        begin=tokenizer.bos_token_id,
        end=tokenizer.eos_token_id,
        comma=tokenizer.convert_tokens_to_ids(",</w>"),
    )


def _emphasise(states: torch.Tensor, weights: list[float]) -> torch.Tensor:  # (77, D)
    if all(weight == 1 for weight in weights):
        return states
    weighted = states * torch.tensor(weights, device=states.device, dtype=states.dtype)[:, None]
    restored: torch.Tensor = weighted * (states.mean() / weighted.mean())
    return restored
