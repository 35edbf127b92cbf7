"""A text to the context the network attends to: grammar, tokens, chunks, text encoder, emphasis.

Emphasis is A1111's: states are multiplied by their token's weight and then, unless the settings say
otherwise, scaled so that their mean is as before. Each encoder has its own mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sd_runtime.adapters.embedding import Embedding, Embeddings, Triggers
from sd_runtime.models.network import Model
from sd_runtime.models.text import Placed
from sd_runtime.prompt import chunks, grammar
from sd_runtime.prompt.settings import Emphasis, TextSettings


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """A text as the network sees it; its length is a whole number of chunks."""

    context: torch.Tensor  # (1, 77 N, D), float32
    pooled: torch.Tensor | None = None  # (1, P), float32, in families that want it
    #: How well a picture of the text is to be liked, in families whose network is told.
    score: float | None = None
    #: The textual inversions that it names, each once: trigger and short hash.
    embeddings: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.context.nbytes + (0 if self.pooled is None else self.pooled.nbytes)


def encode(
    model: Model, text: str, settings: TextSettings, embeddings: Embeddings, *, negative: bool = False
) -> Conditioning:
    """Encode one text, alone, so that the result depends on nothing else.

    Raises `UnsupportedError` for more chunks than a prompt may have, for what `grammar.parse` refuses and for
    a CLIP skip beyond the model's layers.
    """
    field = "negative_prompt" if negative else "prompt"
    reading = _Reading(model, embeddings)
    runs = [reading.run(fragment) for fragment in _fragments(text, settings.emphasis, field)]
    cut = chunks.cut(runs, _marks(model), comma_back_off=settings.comma_back_off)
    chunks.demand_few(field, len(cut))
    encoded = model.text.encode([chunk.tokens for chunk in cut], settings.clip_skip, reading.placed(cut))
    context = torch.cat([_emphasised(states, cut, settings.emphasis) for states in encoded.states], dim=-1)
    pooled = encoded.pooled
    if negative and not text and model.text.zeroes_empty_negative:
        context, pooled = context * 0, None if pooled is None else pooled * 0
    named = dict.fromkeys((embedding.name, embedding.short_hash) for embedding in reading.named)
    score = settings.negative_score if negative else settings.score
    return Conditioning(context[None], pooled, score if model.is_told_a_score else None, tuple(named))


def _fragments(text: str, emphasis: Emphasis, field: str) -> list[grammar.Fragment]:
    if emphasis is Emphasis.NONE:
        return [grammar.Fragment(text)]
    return grammar.parse(text, field=field)


class _Reading:
    """From fragments to tokens, and the taught words met on the way, numbered as they come."""

    def __init__(self, model: Model, embeddings: Embeddings) -> None:
        self._tokenizer = model.tokenizer
        self._triggers: Triggers = embeddings.triggers(model.text.widths, self._tokenize)
        self.named: list[Embedding] = []

    def run(self, fragment: grammar.Fragment) -> chunks.Run:
        if fragment.text is None:
            return chunks.Run(None)
        return chunks.Run(self._taught(self._tokenize(fragment.text)), fragment.weight)

    def placed(self, cut: Sequence[chunks.Chunk]) -> list[Placed]:
        """Where the taught words' vectors go."""
        return [
            Placed(number, at, self.named[word].vectors)
            for number, chunk in enumerate(cut)
            for at, word in chunk.taught
        ]

    def _tokenize(self, text: str) -> list[int]:
        # Verbose off: the length warning is for callers that do not cut the text themselves.
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tokens

    def _taught(self, tokens: list[int]) -> list[int | chunks.Taught]:
        """The tokens with every word that an embedding teaches as one; the longest counts."""
        if not self._triggers:
            return list(tokens)
        read: list[int | chunks.Taught] = []
        at = 0
        while at < len(tokens):
            for trigger in self._triggers.get(tokens[at], ()):
                length = len(trigger.tokens)
                if tuple(tokens[at : at + length]) == trigger.tokens:
                    read.append(chunks.Taught(len(self.named), trigger.embedding.length))
                    self.named.append(trigger.embedding)
                    at += length
                    break
            else:
                read.append(tokens[at])
                at += 1
        return read


def _marks(model: Model) -> chunks.Marks:
    tokenizer = model.tokenizer
    return chunks.Marks(
        begin=tokenizer.bos_token_id,
        end=tokenizer.eos_token_id,
        comma=tokenizer.convert_tokens_to_ids(",</w>"),
    )


def _emphasised(states: torch.Tensor, cut: list[chunks.Chunk], emphasis: Emphasis) -> torch.Tensor:
    """One encoder's states of all chunks, weighted, one chunk behind the other."""  # (N, 77, D) -> (77 N, D)
    return torch.cat(
        [_emphasise(state, chunk.weights, emphasis) for state, chunk in zip(states, cut, strict=True)]
    )


def _emphasise(states: torch.Tensor, weights: list[float], emphasis: Emphasis) -> torch.Tensor:  # (77, D)
    if emphasis is Emphasis.IGNORE or all(weight == 1 for weight in weights):
        return states
    weighted = states * torch.tensor(weights, device=states.device, dtype=states.dtype)[:, None]
    if emphasis is Emphasis.NO_NORM:
        return weighted
    restored: torch.Tensor = weighted * (states.mean() / weighted.mean())
    return restored
