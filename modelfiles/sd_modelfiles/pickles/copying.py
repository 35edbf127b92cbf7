"""Copies a tensor's elements out of the file, in the order in which safetensors keeps them.

A tensor is a view: it may begin anywhere in its storage and take its elements in any order. Whole runs are
streamed; others are put in order a block at a time, from the file mapped into memory. Without NumPy: slices
of memoryviews with a step move a row of elements at once.
"""

import mmap
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import BinaryIO, Literal

from sd_modelfiles.header import BITS
from sd_modelfiles.pickles.values import Tensor

CHUNK_BYTES = 1024 * 1024
# Of a tensor that is put in order, twice as much as this is held, or two rows of its first side.
BLOCK_BYTES = 8 * 1024 * 1024

_FORMATS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}

Side = tuple[int, int]  # how many elements, and the stride from one to the next
Write = Callable[[bytes | bytearray], object]


def itemsize(tensor: Tensor) -> int:
    return BITS[tensor.dtype] // 8


def moves(tensor: Tensor) -> int:
    """How many rows of elements have to be moved one by one; what copying costs beside reading."""
    sides = _joined(tensor)
    if _is_run(sides):
        return 0
    at_once = _rows_at_once(sides, itemsize(tensor))
    blocks, rest = divmod(sides[0][0], at_once)
    total = blocks * _moves_in([(at_once, sides[0][1]), *sides[1:]])
    return total + (_moves_in([(rest, sides[0][1]), *sides[1:]]) if rest else 0)


def copy(tensor: Tensor, begin: int, file: BinaryIO, write: Write, between: Callable[[], None]) -> None:
    """Write the tensor's elements; its storage begins there in the file."""
    sides = _joined(tensor)
    begin += tensor.offset * itemsize(tensor)
    if 0 in tensor.shape:
        return
    if _is_run(sides):
        _stream(file, begin, prod(tensor.shape) * itemsize(tensor), write, between)
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for block in _blocks(mapped, begin, sides, itemsize(tensor)):
            between()
            write(block)


def _joined(tensor: Tensor) -> list[Side]:
    """The sides from the outermost; those of one element left out, and those joined that run on."""
    joined: list[Side] = []
    for count, stride in zip(tensor.shape, tensor.strides, strict=True):
        if count == 1:
            continue
        if joined and joined[-1][1] == count * stride:
            joined[-1] = (joined[-1][0] * count, stride)
        else:
            joined.append((count, stride))
    return joined


def _is_run(sides: list[Side]) -> bool:
    return not sides or (len(sides) == 1 and sides[0][1] == 1) or any(count == 0 for count, _ in sides)


def _stream(file: BinaryIO, begin: int, size: int, write: Write, between: Callable[[], None]) -> None:
    file.seek(begin)
    while size:
        between()
        chunk = file.read(min(size, CHUNK_BYTES))
        if not chunk:
            raise OSError("the file became shorter while it was read")
        write(chunk)
        size -= len(chunk)


def _rows_at_once(sides: list[Side], size: int) -> int:
    return max(1, BLOCK_BYTES // (prod(count for count, _ in sides[1:]) * size))


def _blocks(mapped: mmap.mmap, begin: int, sides: list[Side], size: int) -> Iterator[bytearray]:
    """The elements in order, as many rows of the outermost side at a time as a block holds."""
    (rows, row_stride), inner = sides[0], sides[1:]
    at_once = _rows_at_once(sides, size)
    for first in range(0, rows, at_once):
        here = [(min(at_once, rows - first), row_stride), *inner]
        reach = sum((count - 1) * stride for count, stride in here) + 1
        start = begin + first * row_stride * size
        with memoryview(mapped) as whole, whole[start : start + reach * size] as part:
            yield _ordered(part, here, size)


def _longest(sides: list[Side]) -> int | None:
    """The side along which rows are moved; none when every element is the same one."""
    longest = max(range(len(sides)), key=lambda index: sides[index][0] if sides[index][1] else 0)
    return longest if sides[longest][1] else None


def _moves_in(sides: list[Side]) -> int:
    longest = _longest(sides)
    return prod(count for count, _ in sides) // (1 if longest is None else sides[longest][0])


def _ordered(part: memoryview, sides: list[Side], size: int) -> bytearray:
    ordered = bytearray(prod(count for count, _ in sides) * size)
    # Where an element goes, by its place on each side.
    places = [prod(count for count, _ in sides[index + 1 :]) for index in range(len(sides))]
    longest = _longest(sides)
    count, step, place = (1, 1, 1) if longest is None else (*sides[longest], places[longest])
    others = [(*sides[index], places[index]) for index in range(len(sides)) if index != longest]
    (last_count, last_step, last_place), outer = (others[-1], others[:-1]) if others else ((1, 0, 0), [])
    row = (count - 1) * step + 1
    target_row = (count - 1) * place + 1
    with part.cast(_FORMATS[size]) as source, memoryview(ordered).cast(_FORMATS[size]) as target:
        for indexes in product(*(range(each[0]) for each in outer)):
            taken = sum(each[1] * at for each, at in zip(outer, indexes, strict=True))
            put = sum(each[2] * at for each, at in zip(outer, indexes, strict=True))
            for _ in range(last_count):
                target[put : put + target_row : place] = source[taken : taken + row : step]
                taken += last_step
                put += last_place
    return ordered
