r"""A1111's prompt language, the part that is served: attention and BREAK. Pure text, no tokens, no torch.

`(x)` is 1.1 times the attention, `[x]` divides by it, `(x:1.3)` sets the factor, nesting multiplies, a
backslash makes a bracket (or itself) plain, brackets without a partner are tolerated: an open one reaches
to the end, a closing one is text. `BREAK` starts a new chunk. What the language has beyond that (editing,
alternation, AND, extra networks) is refused by name, never taken for text.
"""

import re
from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError

ROUND = 1.1
SQUARE = 1 / 1.1

_TOKEN = re.compile(r"\\[\\()\[\]]|\\|[()\[\]]|[^\\()\[\]]+")
_WEIGHT = re.compile(r":\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*$")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")
_AND = re.compile(r"\bAND\b")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*")

SERVED = "plain text, (x), [x], (x:1.3), backslash escapes and BREAK"


@dataclass(frozen=True, slots=True)
class Fragment:
    """Text under one weight, or (`text` None) the start of a new chunk."""

    text: str | None
    weight: float = 1.0


def parse(prompt: str) -> list[Fragment]:
    """The prompt as fragments in order; neighbours of equal weight are one. Always at least one fragment."""
    pieces = _weigh(prompt)
    fragments: list[Fragment] = []
    for text, weight in pieces:
        for i, part in enumerate(_BREAK.split(text)):
            if i:
                fragments.append(Fragment(None))
            last = fragments[-1] if fragments else None
            if last is not None and last.text is not None and last.weight == weight:
                fragments[-1] = Fragment(last.text + part, weight)
            elif part:
                fragments.append(Fragment(part, weight))
    return fragments or [Fragment("")]


def _weigh(prompt: str) -> list[tuple[str, float]]:
    pieces: list[tuple[str, float]] = []
    open_brackets: list[tuple[str, int]] = []  # the bracket and the index of its first piece

    def scale(start: int, factor: float) -> None:
        pieces[start:] = [(text, weight * factor) for text, weight in pieces[start:]]

    for token in _TOKEN.findall(prompt):
        partner = open_brackets[-1] if open_brackets else None
        if token in ("(", "["):
            open_brackets.append((token, len(pieces)))
        elif token == ")" and partner and partner[0] == "(":
            scale(open_brackets.pop()[1], _take_weight(pieces, partner[1]))
        elif token == "]" and partner and partner[0] == "[":
            scale(open_brackets.pop()[1], SQUARE)
        else:
            escaped = len(token) == 2 and token[0] == "\\"
            pieces.append((token[1:] if escaped else token, 1.0))
    for bracket, start in open_brackets:
        scale(start, ROUND if bracket == "(" else SQUARE)
    return pieces


def _take_weight(pieces: list[tuple[str, float]], start: int) -> float:
    """Cut `:1.3` off the end of a round bracket's content, and return it; without one, the bracket's usual
    factor.
    """
    if len(pieces) > start:
        text, weight = pieces[-1]
        match = _WEIGHT.search(text)
        if match:
            pieces[-1] = (text[: match.start()], weight)
            return float(match[1])
    return ROUND


def refuse_unserved(field: str, prompt: str) -> None:
    """Raise `UnsupportedError` if the prompt uses a part of the language that is not served, quoting the
    part.
    """
    for name, pattern in (("extra network", _EXTRA_NETWORK), ("composition with AND", _AND)):
        match = pattern.search(prompt)
        if match:
            raise UnsupportedError(field, f"{match[0]} ({name})", SERVED)
    found = _editing_or_alternation(prompt)
    if found:
        raise UnsupportedError(field, found, SERVED)


def _editing_or_alternation(prompt: str) -> str | None:
    """The first `[a|b]` or `[a:b:0.5]`, judged by what stands in the square brackets outside of inner
    brackets.
    """
    stack: list[tuple[str, int, str]] = []  # bracket, where it opened, its own text so far
    position = 0
    for token in _TOKEN.findall(prompt):
        if token in ("(", "["):
            stack.append((token, position, ""))
        elif stack and token in (")", "]") and (stack[-1][0] == "(") == (token == ")"):
            bracket, start, own = stack.pop()
            if bracket == "[":
                whole = prompt[start : position + 1]
                if "|" in own:
                    return f"{whole} (alternation)"
                if ":" in own and _NUMBER.fullmatch(own.rpartition(":")[2]):
                    return f"{whole} (prompt editing)"
        elif stack and not token.startswith("\\"):
            bracket, start, own = stack[-1]
            stack[-1] = (bracket, start, own + token)
        position += len(token)
    return None
