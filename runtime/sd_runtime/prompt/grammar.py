r"""A1111's prompt language, the part that is served: attention and BREAK. Pure text, no tokens, no torch.

`(x)` is 1.1 times the attention, `[x]` divides by it, `(x:1.3)` sets the factor, nesting multiplies, a
backslash makes a bracket (or itself) plain, brackets without a partner are tolerated: an open one reaches
to the end, a closing one is text. The two kinds of brackets may overlap. `BREAK` starts a new chunk. What the
language has beyond that (editing, alternation, AND, extra networks) is refused by name, never taken for text.

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

_TOKEN = re.compile(r"\\[\\()\[\]]|\\|[()\[\]]|[^\\()\[\]]+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)")
_BREAK = re.compile(r"\bBREAK\b")
_EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")
_AND = re.compile(r"\bAND\b")

SERVED = "plain text, (x), [x], (x:1.3), backslash escapes and BREAK"


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
        if not abs(weight) <= MAX_WEIGHT:  # so that it is true of what is not a number, too
            allowed = f"attention weights from -{MAX_WEIGHT} to {MAX_WEIGHT}"
            raise UnsupportedError(field, f"{text} (attention weight {weight:g})", allowed)
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
            if len(opened["("]) + len(opened["["]) > MAX_DEPTH:
                deep = f"{prompt} (brackets within brackets)"
                raise UnsupportedError(field, deep, f"at most {MAX_DEPTH} brackets open at one place")
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
        if colon and _NUMBER.fullmatch(number.strip()):
            pieces[-1] = (content, weight)
            return float(number)
    return ROUND


def without_extra_networks(prompt: str) -> str:
    """The prompt without any `<name:…>`."""
    end = _last_angle(prompt)
    return _EXTRA_NETWORK.sub("", prompt[:end]) + prompt[end:]


def _last_angle(prompt: str) -> int:
    """Behind it no extra network can end, so that none needs to be looked for there, `<` by `<`."""
    return prompt.rfind(">") + 1


def refuse_unserved(field: str, prompt: str) -> None:
    """Raise `UnsupportedError` if the prompt uses a part of the language that is not served, or exceeds a
    limit, quoting the part.
    """
    extra = _EXTRA_NETWORK.search(prompt, 0, _last_angle(prompt))
    if extra:
        raise UnsupportedError(field, f"{extra[0]} (extra network)", SERVED)
    if _AND.search(prompt):
        raise UnsupportedError(field, "AND (composition with AND)", SERVED)
    parse(prompt, field=field)
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
                if ":" in own and _NUMBER.fullmatch(own.rpartition(":")[2].strip()):
                    return f"{whole} (prompt editing)"
        elif stack and not token.startswith("\\"):
            bracket, start, own = stack[-1]
            stack[-1] = (bracket, start, own + token)
        position += len(token)
    return None
