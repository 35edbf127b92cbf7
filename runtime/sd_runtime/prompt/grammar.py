r"""A1111's attention: which weight each piece of a text has, and BREAK. Pure text, no tokens, no torch.

`(x)` is 1.1 times the attention, `[x]` divides by it, `(x:1.3)` sets the factor, nesting multiplies, a
backslash makes a bracket (or itself) plain, brackets without a partner are tolerated: an open one reaches
to the end, a closing one is text. The two kinds of brackets may overlap. `BREAK` starts a new chunk. Knows
nothing of what a prompt has around that: schedules and AND (`schedule`), extra networks (`extra_networks`).

Every look at a prompt takes time in proportion to its length: prompts come from anybody.
"""

import re
from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError

ROUND = 1.1
SQUARE = 1 / 1.1
#: Of brackets open at one place, both kinds together; each closing one looks at all behind its opening one.
MAX_DEPTH = 64
#: Of the weight of a piece, all its brackets together, in either direction.
MAX_WEIGHT = 100
#: How weights are written.
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)")

_TOKEN = re.compile(r"\\[\\()\[\]]|\\|[()\[\]]|[^\\()\[\]]+")
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True, slots=True)
class Fragment:
    """Text under one weight, or (`text` None) the start of a new chunk."""

    text: str | None
    weight: float = 1.0


def parse(prompt: str, *, field: str = "prompt") -> list[Fragment]:
    """The prompt as fragments in order; neighbours of equal weight are one. Always at least one fragment.

    Raises `UnsupportedError` about `field` for brackets nested too deeply and for weights out of range.
    """
    joined: list[tuple[list[str] | None, float]] = []
    for text, weight in _weigh(field, prompt):
        demand_weight(field, text, weight)
        for i, part in enumerate(_split_at_breaks(text)):
            if i:
                joined.append((None, 1.0))
            last = joined[-1] if joined else None
            if last is not None and last[0] is not None and last[1] == weight:
                last[0].append(part)
            elif part:
                joined.append(([part], weight))
    return [Fragment(None if parts is None else "".join(parts), weight) for parts, weight in joined] or [
        Fragment("")
    ]


def demand_weight(field: str, text: str, weight: float) -> None:
    """Raise `UnsupportedError` for a weight that is out of range."""
    if not abs(weight) <= MAX_WEIGHT:  # so that it is true of what is not a number, too
        allowed = f"weights from -{MAX_WEIGHT} to {MAX_WEIGHT}"
        raise UnsupportedError(field, f"{text} (weight {weight:g})", allowed)


def demand_depth(field: str, prompt: str, depth: int) -> None:
    """Raise `UnsupportedError` for too many brackets open at one place."""
    if depth > MAX_DEPTH:
        deep = f"{prompt} (brackets within brackets)"
        raise UnsupportedError(field, deep, f"at most {MAX_DEPTH} brackets open at one place")


def _split_at_breaks(text: str) -> list[str]:
    """The text between BREAKs, without the white space around them."""
    first, *rest = _BREAK.split(text)
    if not rest:
        return [first]
    return [first.rstrip(), *(part.strip() for part in rest[:-1]), rest[-1].lstrip()]


def _weigh(field: str, prompt: str) -> list[tuple[str, float]]:
    pieces: list[tuple[str, float]] = []
    # Where the open brackets of each kind began: indices of their first pieces.
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def scale(start: int, factor: float) -> None:
        pieces[start:] = [(text, weight * factor) for text, weight in pieces[start:]]

    for token in _TOKEN.findall(prompt):
        if token in opened:
            opened[token].append(len(pieces))
            demand_depth(field, prompt, len(opened["("]) + len(opened["["]))
        elif token == ")" and opened["("]:
            start = opened["("].pop()
            scale(start, _take_weight(pieces, start))
        elif token == "]" and opened["["]:
            scale(opened["["].pop(), SQUARE)
        else:
            escaped = len(token) == 2 and token[0] == "\\"
            pieces.append((token[1:] if escaped else token, 1.0))
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        for start in opened[bracket]:
            scale(start, factor)
    return pieces


def _take_weight(pieces: list[tuple[str, float]], start: int) -> float:
    """Cut `:1.3` off the end of a round bracket's content, and return it; without one, the bracket's usual
    factor.
    """
    if len(pieces) > start:
        text, weight = pieces[-1]
        content, colon, number = text.rpartition(":")
        if colon and NUMBER.fullmatch(number.strip()):
            pieces[-1] = (content, weight)
            return float(number)
    return ROUND
