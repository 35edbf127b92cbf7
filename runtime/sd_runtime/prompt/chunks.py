"""Tokens to chunks of equal length with a weight for every token, as A1111 cuts long prompts. Pure.

A chunk is begin, 75 tokens, end; a short one is filled with end tokens of weight 1. When a chunk is full
and a comma stands among its last 20 tokens, what follows the comma moves to the next chunk, so that phrases
stay whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SIZE = 75
#: Of one prompt: every chunk makes every evaluation of its picture slower and larger.
MAX_COUNT = 32
COMMA_BACK_OFF = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The tokenizer's tokens with a meaning of their own."""

    begin: int
    end: int
    comma: int


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens under one weight, or (`tokens` None) the start of a new chunk."""

    tokens: Sequence[int] | None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the text encoder sees at once, marks included, and the weight of each token."""

    tokens: list[int]
    weights: list[float]


def cut(runs: Iterable[Run], marks: Marks) -> list[Chunk]:
    """At least one chunk, however short the prompt."""
    done: list[Chunk] = []
    current: list[tuple[int, float]] = []
    after_comma: int | None = None  # where the words behind the last comma of `current` begin

    for run in runs:
        if run.tokens is None:
            done.append(_close(current, marks))
            current, after_comma = [], None
            continue
        for token in run.tokens:
            if len(current) == SIZE:
                keep = SIZE
                if token != marks.comma and after_comma is not None and SIZE - after_comma < COMMA_BACK_OFF:
                    keep = after_comma
                done.append(_close(current[:keep], marks))
                current, after_comma = current[keep:], None
            current.append((token, run.weight))
            if token == marks.comma:
                after_comma = len(current)
    if current or not done:
        done.append(_close(current, marks))
    return done


def _close(content: list[tuple[int, float]], marks: Marks) -> Chunk:
    padding = SIZE - len(content)
    tokens = [marks.begin, *(token for token, _ in content), *([marks.end] * padding), marks.end]
    weights = [1.0, *(weight for _, weight in content), *([1.0] * padding), 1.0]
    return Chunk(tokens, weights)
