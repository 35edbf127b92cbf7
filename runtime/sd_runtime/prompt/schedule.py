"""A1111's prompt schedules: which texts are drawn at which step, and how strongly. Pure text, no torch.

`a AND b :0.5` draws texts side by side, each with its weight. `[a:b:when]` is a and later b, `[b:when]`
nothing and later b, `[a::when]` a and later nothing, `[a|b|c]` another one at each step; they nest. `when` is
a step, or with a point a share of the steps. In a second pass (hires fix) steps go on counting behind the
first pass, and shares begin at 1, so that what is below has happened.

What only looks like a schedule stays as it is, for attention (`grammar`) to read. Time and size are bounded:
prompts come from anybody.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt import grammar

#: Of texts side by side: each is a row of its own in every evaluation.
MAX_PARTS = 16
#: Of all different texts that a prompt becomes over the steps, together.
MAX_CHARACTERS = 256 * 1024
#: Brackets and pieces between them, each counted for every step that may draw it.
MAX_PIECES = 1_000_000

_AND = re.compile(r"\bAND\b")
_TOKEN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
_WHEN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """A text up to a step, which is counted from 0 and the last one that draws it."""

    until: int
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One of the texts side by side, over the steps."""

    weight: float
    entries: tuple[Entry, ...]  # at least one; `until` ascends, the last is the number of steps

    def at(self, step: int) -> str:
        """The text of a step, counted from 0; beyond the last step that of the last."""
        return next((entry.text for entry in self.entries if step <= entry.until), self.entries[-1].text)


@dataclass(frozen=True, slots=True)
class Composition:
    """A prompt over the steps of a pass."""

    parts: tuple[Part, ...]  # at least one

    def at(self, step: int) -> tuple[tuple[str, float], ...]:
        """The texts of a step, counted from 0, and their weights; in the texts is nothing left but attention
        and BREAK.

        As with A1111 the step is the number of those done, compared with what the prompt says: `[a:b:10]`
        draws a in the steps 0 to 10, and `[a|b]` begins with a, a, b, a.
        """
        return tuple((part.at(step), part.weight) for part in self.parts)

    def texts(self) -> tuple[str, ...]:
        """All different texts."""
        return tuple(dict.fromkeys(entry.text for part in self.parts for entry in part.entries))


def compose(
    prompt: str,
    steps: int,
    *,
    second_pass: int | None = None,
    negative: bool = False,
    field: str = "prompt",
) -> Composition:
    """The prompt over `steps`, or, given its number of steps, over the second pass that follows them.

    In a negative prompt AND and a weight at the end are text (A1111's too). Raises `UnsupportedError` about
    `field` for brackets nested too deeply, weights out of range, too many texts side by side or too long
    ones.
    """
    timing = _Timing(steps, 0, 0.0) if second_pass is None else _Timing(second_pass, steps, 1.0)
    weighted = [(prompt, 1.0)] if negative else [_take_weight(field, part) for part in _AND.split(prompt)]
    if len(weighted) > MAX_PARTS:
        told = f"{prompt} ({len(weighted)} texts joined by AND)"
        raise UnsupportedError(field, told, f"at most {MAX_PARTS} texts joined by AND")
    drawing = _Drawing(field, timing)
    return Composition(
        tuple(Part(weight, drawing.entries(_Parser(field, text, timing).run())) for text, weight in weighted)
    )


def _take_weight(field: str, text: str) -> tuple[str, float]:
    """The text and the number behind its last colon, if nothing follows that."""
    content, colon, number = text.rpartition(":")
    if not colon or not grammar.NUMBER.fullmatch(number.strip()):
        return text.strip(), 1.0
    weight = float(number)
    grammar.demand_weight(field, content, weight)
    return content.strip(), weight


@dataclass(frozen=True, slots=True)
class _Timing:
    """What a pass's steps are, and where those that a prompt names begin to count."""

    steps: int
    first_step: int
    first_share: float

    def last_step(self, when: str) -> int:
        """The last step, counted from 1, of what is drawn until `when`; 0: it never is."""
        value = float(when)
        step = (value - self.first_share) * self.steps if "." in when else value - self.first_step
        return int(min(max(step, 0), self.steps))


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    before: Sequence["_Node"]
    after: Sequence["_Node"]
    until: int


@dataclass(frozen=True, slots=True, eq=False)
class _Turns:
    options: Sequence[Sequence["_Node"]]


_Node = str | _Change | _Turns


@dataclass(slots=True, eq=False)
class _Open:
    """A bracket that is open (or the whole text), and what stands in it so far."""

    bracket: str
    nodes: list[_Node] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # where in `nodes` a square bracket's own : and | are

    def options(self) -> list[list[_Node]]:
        """What stands between the cuts."""
        edges = [-1, *self.cuts, len(self.nodes)]
        return [self.nodes[a + 1 : b] for a, b in itertools.pairwise(edges)]

    def all_as_text(self) -> list[_Node]:
        """The bracket as it is written, schedules within it excepted."""
        return [self.bracket, *self.nodes]


@dataclass(frozen=True, slots=True, eq=False)
class _Parsed:
    nodes: Sequence[_Node]
    #: The last steps of all that changes.
    changes: frozenset[int]
    #: How many brackets and pieces between them there are.
    pieces: int
    #: Whether something is another one at every step.
    turns: bool


class _Parser:
    """One look at a text, token by token, with a stack of what is open."""

    def __init__(self, field: str, text: str, timing: _Timing) -> None:
        self._field = field
        self._text = text
        self._timing = timing
        self._opened = [_Open("")]
        self._changes: set[int] = set()
        self._turns = False

    def run(self) -> _Parsed:
        tokens = _TOKEN.findall(self._text)
        for token in tokens:
            innermost = self._opened[-1]
            if token in ("(", "["):
                grammar.demand_depth(self._field, self._text, len(self._opened))
                self._opened.append(_Open(token))
            elif innermost.bracket + token in ("()", "[]"):
                self._opened.pop()
                self._opened[-1].nodes += self._close(innermost, token)
            else:
                if token in (")", "]"):
                    # It closes nothing, and what is open around it cannot be a schedule either.
                    self._give_up()
                elif token in (":", "|") and innermost.bracket == "[":
                    innermost.cuts.append(len(innermost.nodes))
                self._opened[-1].nodes.append(token)
        self._give_up()
        return _Parsed(self._opened[0].nodes, frozenset(self._changes), len(tokens), self._turns)

    def _close(self, closed: _Open, token: str) -> list[_Node]:
        cuts = {closed.nodes[cut] for cut in closed.cuts}
        if cuts == {"|"}:
            self._turns = True
            return [_Turns(closed.options())]
        if cuts == {":"} and len(closed.cuts) <= 2:
            *texts, when = closed.options()
            number = "".join(node if isinstance(node, str) else "?" for node in when).strip()
            if _WHEN.fullmatch(number):
                until = self._timing.last_step(number)
                self._changes.add(until)
                return [_Change(texts[0] if len(texts) == 2 else (), texts[-1], until)]
        return [*closed.all_as_text(), token]

    def _give_up(self) -> None:
        """All that is open is text."""
        for bracket in self._opened[1:]:
            self._opened[0].nodes += bracket.all_as_text()
        del self._opened[1:]


class _Drawing:
    """Writes out the texts of the steps, as long as there is room for them."""

    def __init__(self, field: str, timing: _Timing) -> None:
        self._field = field
        self._steps = timing.steps
        self._room = MAX_CHARACTERS

    def entries(self, parsed: _Parsed) -> tuple[Entry, ...]:
        """Neighbours of equal text are one entry."""
        steps = self._steps
        last_steps = range(1, steps + 1) if parsed.turns else sorted({*parsed.changes, steps} - {0})
        if parsed.pieces * len(last_steps) > MAX_PIECES:
            raise self._too_large(f"{MAX_PIECES} brackets and pieces between them, over all steps")
        entries: list[Entry] = []
        known: dict[str, str] = {}
        for step in last_steps:
            pieces: list[str] = []
            _draw(parsed.nodes, step, pieces)
            text = "".join(pieces)
            if text not in known:
                self._take_room(text)
            text = known.setdefault(text, text)  # one copy of each: a prompt may alternate over many steps
            if entries and entries[-1].text == text:
                entries.pop()
            entries.append(Entry(step, text))
        return tuple(entries)

    def _take_room(self, text: str) -> None:
        self._room -= len(text)
        if self._room < 0:
            raise self._too_large(f"texts of {MAX_CHARACTERS} characters together")

    def _too_large(self, allowed: str) -> UnsupportedError:
        return UnsupportedError(
            self._field, f"a prompt that becomes other texts over {self._steps} steps", allowed
        )


def _draw(nodes: Sequence[_Node], step: int, pieces: list[str]) -> None:
    """Adds what is drawn in a step, counted from 1."""
    for node in nodes:
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, _Change):
            _draw(node.before if step <= node.until else node.after, step, pieces)
        else:
            _draw(node.options[(step - 1) % len(node.options)], step, pieces)
