"""Tokens to chunks of equal length with a weight for every token, as A1111 cuts long prompts. Pure.

A chunk is begin, 75 tokens, end; a short one is filled with end tokens of weight 1. When a chunk is full
and a comma stands among its last tokens, what follows the comma moves to the next chunk, so that phrases
stay whole. A word that was taught takes several places, which are never parted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError

SIZE = 75
#: Of one prompt: every chunk makes every evaluation of its picture slower and larger.
MAX_COUNT = 32
COMMA_BACK_OFF = 20

#: Where a taught word's vectors are put in; any token but the marks would do.
PLACEHOLDER = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The tokenizer's tokens with a meaning of their own."""

    begin: int
    end: int
    comma: int


@dataclass(frozen=True, slots=True)
class Taught:
    """A word that is vectors instead of tokens: at most `SIZE` of them."""

    #: What it is called by whoever cuts.
    number: int
    length: int


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens under one weight, or (`tokens` None) the start of a new chunk."""

    tokens: Sequence[int | Taught] | None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the text encoder sees at once, marks included, and the weight of each token."""

    tokens: list[int]
    weights: list[float]
    #: The taught words in it: where the first vector goes, and the word's number.
    taught: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class _Place:
    """Of one token, or of one vector of a taught word, whose number stands at the first."""

    token: int
    weight: float
    taught: int | None = None


def cut(runs: Iterable[Run], marks: Marks, *, comma_back_off: int = COMMA_BACK_OFF) -> list[Chunk]:
    """At least one chunk, however short the prompt."""
    done: list[Chunk] = []
    current: list[_Place] = []
    after_comma: int | None = None  # where the words behind the last comma of `current` begin

    for run in runs:
        if run.tokens is None:
            done.append(_close(current, marks))
            current, after_comma = [], None
            continue
        for token in run.tokens:
            if len(current) == SIZE:
                keep = SIZE
                if token != marks.comma and after_comma is not None and SIZE - after_comma < comma_back_off:
                    keep = after_comma
                done.append(_close(current[:keep], marks))
                current, after_comma = current[keep:], None
            places = _places(token, run.weight)
            # Only a taught word can still be too long; commas do not count then, as with A1111.
            if len(current) + len(places) > SIZE:
                done.append(_close(current, marks))
                current, after_comma = [], None
            current += places
            if token == marks.comma:
                after_comma = len(current)
    if current or not done:
        done.append(_close(current, marks))
    return done


def demand_few(field: str, count: int) -> None:
    """Raise `UnsupportedError` for more chunks than a prompt may have."""
    if count > MAX_COUNT:
        allowed = f"{MAX_COUNT} chunks (of {SIZE} tokens, or fewer before a BREAK)"
        raise UnsupportedError(field, f"a prompt of {count} chunks", allowed)


def _places(token: int | Taught, weight: float) -> list[_Place]:
    if isinstance(token, int):
        return [_Place(token, weight)]
    first = _Place(PLACEHOLDER, weight, token.number)
    return [first, *(_Place(PLACEHOLDER, weight) for _ in range(token.length - 1))]


def _close(content: list[_Place], marks: Marks) -> Chunk:
    padding = SIZE - len(content)
    tokens = [marks.begin, *(place.token for place in content), *([marks.end] * padding), marks.end]
    weights = [1.0, *(place.weight for place in content), *([1.0] * padding), 1.0]
    taught = tuple((i, place.taught) for i, place in enumerate(content, 1) if place.taught is not None)
    return Chunk(tokens, weights, taught)
