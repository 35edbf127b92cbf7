"""Reads the opcodes of one pickle and writes down what they would make. Runs nothing.

Python's own unpickler calls what a pickle names; this one knows a fixed list of names (allowed.py) and notes
every other. Memory is bounded by `MAX_WEIGHT`, counted before values are made, whatever the pickle claims;
time by that and by the pickle's length. Knows neither files nor what the values mean.
"""

import re
import struct
from collections.abc import Callable

from sd_modelfiles.header import BITS
from sd_modelfiles.pickles import allowed
from sd_modelfiles.pickles.errors import PickleMalformed
from sd_modelfiles.pickles.values import OPAQUE, Instance, Mapping, Opaque, Storage, Symbol, Tensor

# An estimate of the bytes that the values of one pickle take: 8 million for a checkpoint of SDXL, 35 million
# with smoothed weights and a trainer's state.
MAX_WEIGHT = 34 * 1024 * 1024
# Of a value that is there already, or that Python has once: a place on the stack.
_KNOWN_WEIGHT = 8
_NUMBER_WEIGHT = 40
_VALUE_WEIGHT = 80
# Of a text, for each of its bytes: a copy, and a text in which one wide letter makes all of them wide.
_TEXT_WEIGHT = 5
_TUPLE_WEIGHT = 64
_PAIR_WEIGHT = 80
_MEMO_WEIGHT = 104

# PyTorch writes no larger number than its magic one; the time to parse one grows with the square.
_MAX_INTEGER_BYTES = 32
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,70}L?")
_MAX_LINE = 1000
# What is told of the globals of a hostile pickle.
_MAX_SYMBOLS = 1000


class Machine:
    """The state of an unpickler: a stack, the stacks below its marks, and what was memoized."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._weight = 0
        self._stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[int, object] = {}
        self.symbols: dict[str, bool] = {}  # each global that was named: whether it is allowed
        self.itemsizes: dict[str, int] = {}  # each key of a storage: the bytes of its elements

    def run(self, start: int = 0) -> tuple[object, int]:
        """What the pickle that begins here makes, and where it ends."""
        self._at = start
        self._stack, self._below, self._memo = [], [], {}
        while True:
            opcode = self._take(1)[0]
            if opcode == _STOP:
                return self._pop(), self._at
            step = _STEPS.get(opcode)
            if step is None:
                raise PickleMalformed(f"byte {self._at - 1} is no opcode that PyTorch writes: {opcode:#04x}")
            step(self)

    # Bytes

    def _protocol(self) -> None:
        protocol = self._number("<B")
        if protocol > 5:
            raise PickleMalformed(f"protocol {protocol} is not known")

    def _take(self, count: int) -> bytes:
        self._skip(count)
        return self._data[self._at - count : self._at]

    def _skip(self, count: int) -> None:
        if count < 0 or self._at + count > len(self._data):
            raise PickleMalformed("the pickle ends in the middle, or is longer than any of PyTorch's")
        self._at += count

    def _letters(self, layout: str) -> bytes:
        """The bytes of a text, which follow their count; weighed before they are copied."""
        count = self._number(layout)
        self._skip(count)
        self._weigh(_TEXT_WEIGHT * count)
        return self._data[self._at - count : self._at]

    def _number(self, layout: str) -> int:
        number: int = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return number

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + _MAX_LINE)
        if end < 0:
            raise PickleMalformed(f"byte {self._at}: a line without an end")
        line = self._take(end - self._at)
        self._at += 1
        return _decoded(line)

    # The stack

    def _weigh(self, weight: int) -> None:
        self._weight += weight
        if self._weight > MAX_WEIGHT:
            raise PickleMalformed("the pickle makes more values than a model has")

    def _push(self, value: object, weight: int = _VALUE_WEIGHT) -> None:
        self._weigh(weight)
        self._stack.append(value)

    def _pop(self) -> object:
        if not self._stack:
            raise PickleMalformed(f"byte {self._at}: the pickle takes from an empty stack")
        return self._stack.pop()

    def _top(self) -> object:
        value = self._pop()
        self._stack.append(value)
        return value

    def _mark(self) -> None:
        self._weigh(_VALUE_WEIGHT)
        self._below.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[object]:
        if not self._below:
            raise PickleMalformed(f"byte {self._at}: the pickle goes back to a mark it never made")
        items, self._stack = self._stack, self._below.pop()
        # What is made of the items is weighed for itself.
        self._weight -= _VALUE_WEIGHT
        return items

    def _discard(self) -> None:
        if not self._stack and self._below:
            self._to_mark()
        else:
            self._pop()

    def _drop_to_mark(self) -> None:
        self._to_mark()

    def _duplicate(self) -> None:
        self._push(self._top())

    # Plain values

    def _integer_line(self) -> None:
        line = self._line()
        if line in ("00", "01"):
            self._push(line == "01")
            return
        if _WHOLE_NUMBER.fullmatch(line) is None:
            raise PickleMalformed(f"{line[:100]!r} is no whole number, or too large a one")
        self._push(int(line.removesuffix("L")))

    def _long(self, layout: str) -> None:
        count = self._number(layout)
        if not 0 <= count <= _MAX_INTEGER_BYTES:
            raise PickleMalformed(
                f"a whole number of {count} bytes; at most {_MAX_INTEGER_BYTES} are allowed"
            )
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _float(self) -> None:
        self._push(struct.unpack(">d", self._take(8))[0])

    def _bytes(self, layout: str) -> None:
        # Nothing that is made of them is looked at.
        self._skip(self._number(layout))
        self._push(OPAQUE, _KNOWN_WEIGHT)

    def _text(self, layout: str) -> None:
        self._push(_decoded(self._letters(layout)))

    def _old_text(self, layout: str) -> None:
        """Python 2 wrote its bytes like its texts."""
        raw = self._letters(layout)
        try:
            self._push(_decoded(raw))
        except PickleMalformed:
            self._push(OPAQUE)

    # Containers

    def _tuple(self, items: list[object]) -> None:
        self._push(tuple(items), _TUPLE_WEIGHT + 8 * len(items))

    def _tuple_of(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._tuple(items[::-1])

    def _append(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            self._weigh(16 * len(items))
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise PickleMalformed(f"byte {self._at}: something is appended to what is no list")

    def _set_items(self, items: list[object]) -> None:
        target = self._top()
        if len(items) % 2:
            raise PickleMalformed(f"byte {self._at}: a key without a value")
        if isinstance(target, Mapping):
            self._weigh(_PAIR_WEIGHT * len(items))
            target.pairs.extend(zip(items[::2], items[1::2], strict=True))
        elif not isinstance(target, Opaque):
            raise PickleMalformed(f"byte {self._at}: a key is given to what is no dictionary")

    def _dictionary(self) -> None:
        items = self._to_mark()
        self._push(Mapping())
        self._set_items(items)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    # The memo

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise PickleMalformed(f"byte {self._at}: value {index} was never memoized")
        self._push(self._memo[index], _KNOWN_WEIGHT)

    def _put(self, index: int) -> None:
        self._weigh(_MEMO_WEIGHT)
        self._memo[index] = self._top()

    def _index_line(self) -> int:
        line = self._line()
        if not (line.isascii() and line.isdigit() and len(line) <= 10):
            raise PickleMalformed(f"{line[:100]!r} is no place in the memo")
        return int(line)

    # Globals and calls

    def _name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleMalformed(f"byte {self._at}: the name of a global is no text")
        symbol = Symbol(module, name)
        permitted = allowed.is_allowed(symbol)
        self._note(symbol.words, permitted)
        # Itself and its two texts.
        self._push(symbol if permitted else OPAQUE, 3 * _VALUE_WEIGHT)

    def _note(self, words: str, permitted: bool) -> None:
        if len(self.symbols) < _MAX_SYMBOLS:
            # Two names may read the same: what is below a module, or below a class in it.
            self.symbols[words[:200]] = permitted and self.symbols.get(words[:200], True)
        elif not permitted:
            raise PickleMalformed("the pickle names more globals than any model")

    def _global(self) -> None:
        module = self._line()
        self._name(module, self._line())

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._name(module, name)

    def _extension(self, layout: str) -> None:
        self._note(f"the extension registered as {self._number(layout)}", False)
        self._push(OPAQUE)

    def _instance_line(self) -> None:
        """Names a class and calls it; only Python 2 wrote that."""
        self._note(f"{self._line()}.{self._line()}", False)
        self._to_mark()
        self._push(OPAQUE)

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if isinstance(function, Opaque):
            self._push(OPAQUE)
            return
        if not isinstance(function, Symbol) or not isinstance(arguments, tuple):
            raise PickleMalformed(f"byte {self._at}: something is called that is no function")
        # What is made of a list or a tuple is as long as that, and the same one can be used many times.
        self._weigh(sum(_PAIR_WEIGHT * len(each) for each in arguments if isinstance(each, (list, tuple))))
        self._push(allowed.call(function, arguments), 2 * _VALUE_WEIGHT)

    def _new(self) -> None:
        self._pop()
        symbol = self._pop()
        if isinstance(symbol, Opaque):
            self._push(OPAQUE)
        elif isinstance(symbol, Symbol):
            self._push(allowed.make(symbol))
        else:
            raise PickleMalformed(f"byte {self._at}: an object is made of what is no class")

    def _new_with_keywords(self) -> None:
        self._pop()
        self._new()

    def _build(self) -> None:
        """Gives an object its state; what it does to other objects than those kept is of no interest."""
        state = self._pop()
        target = self._top()
        if isinstance(target, Instance):
            target.state = state
        elif not isinstance(target, (Mapping, Tensor, Opaque)):
            raise PickleMalformed(f"byte {self._at}: something is given a state that has none")

    def _persistent(self) -> None:
        found = allowed.persistent(self._pop())
        if isinstance(found, Storage):
            self.itemsizes.setdefault(found.key, BITS[found.dtype] // 8 if found.dtype else 1)
        self._push(found, 2 * _VALUE_WEIGHT + _MEMO_WEIGHT)

    def _frozen_set(self) -> None:
        self._push(allowed.made_of(self._to_mark()))

    def _add_to_set(self) -> None:
        items = self._to_mark()
        if self._top() is OPAQUE:
            self._pop()
            self._push(allowed.made_of(items))
        else:
            self._append(items)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PickleMalformed(f"a text is not UTF-8 ({error.reason})") from error


_STOP = ord(".")
_Step = Callable[[Machine], None]
_STEPS: dict[int, _Step] = {
    0x80: Machine._protocol,
    # How many bytes belong together; nothing depends on it.
    0x95: lambda m: m._skip(8),
    ord("("): Machine._mark,
    ord("0"): Machine._discard,
    ord("1"): Machine._drop_to_mark,
    ord("2"): Machine._duplicate,
    # Plain values
    ord("N"): lambda m: m._push(None, _KNOWN_WEIGHT),
    0x88: lambda m: m._push(True, _KNOWN_WEIGHT),
    0x89: lambda m: m._push(False, _KNOWN_WEIGHT),
    ord("I"): Machine._integer_line,
    ord("L"): Machine._integer_line,
    ord("J"): lambda m: m._push(m._number("<i"), _NUMBER_WEIGHT),
    ord("K"): lambda m: m._push(m._number("<B"), _KNOWN_WEIGHT),
    ord("M"): lambda m: m._push(m._number("<H"), _NUMBER_WEIGHT),
    0x8A: lambda m: m._long("<B"),
    0x8B: lambda m: m._long("<i"),
    ord("G"): Machine._float,
    ord("X"): lambda m: m._text("<I"),
    0x8C: lambda m: m._text("<B"),
    0x8D: lambda m: m._text("<Q"),
    ord("T"): lambda m: m._old_text("<i"),
    ord("U"): lambda m: m._old_text("<B"),
    ord("B"): lambda m: m._bytes("<I"),
    ord("C"): lambda m: m._bytes("<B"),
    0x8E: lambda m: m._bytes("<Q"),
    0x96: lambda m: m._bytes("<Q"),
    # Containers
    ord(")"): lambda m: m._push((), _KNOWN_WEIGHT),
    0x85: lambda m: m._tuple_of(1),
    0x86: lambda m: m._tuple_of(2),
    0x87: lambda m: m._tuple_of(3),
    ord("t"): lambda m: m._tuple(m._to_mark()),
    ord("]"): lambda m: m._push([]),
    ord("l"): lambda m: m._push(m._to_mark()),
    ord("a"): lambda m: m._append([m._pop()]),
    ord("e"): lambda m: m._append(m._to_mark()),
    ord("}"): lambda m: m._push(Mapping(), 2 * _VALUE_WEIGHT),
    ord("d"): Machine._dictionary,
    ord("s"): Machine._set_item,
    ord("u"): lambda m: m._set_items(m._to_mark()),
    0x8F: lambda m: m._push(OPAQUE),
    0x90: Machine._add_to_set,
    0x91: Machine._frozen_set,
    # The memo
    ord("g"): lambda m: m._get(m._index_line()),
    ord("h"): lambda m: m._get(m._number("<B")),
    ord("j"): lambda m: m._get(m._number("<I")),
    ord("p"): lambda m: m._put(m._index_line()),
    ord("q"): lambda m: m._put(m._number("<B")),
    ord("r"): lambda m: m._put(m._number("<I")),
    0x94: lambda m: m._put(len(m._memo)),
    # Globals and calls
    ord("c"): Machine._global,
    0x93: Machine._stack_global,
    ord("i"): Machine._instance_line,
    0x82: lambda m: m._extension("<B"),
    0x83: lambda m: m._extension("<H"),
    0x84: lambda m: m._extension("<i"),
    ord("R"): Machine._reduce,
    0x81: Machine._new,
    0x92: Machine._new_with_keywords,
    ord("b"): Machine._build,
    ord("Q"): Machine._persistent,
}
