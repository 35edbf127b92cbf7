"""Which seeds the pictures of one request get."""

from random import Random

#: -1 asks for a seed drawn at random; A1111 draws below this number, so that a seed fits 32 bits.
RANDOM = -1
_DRAWN_BELOW = 2**32 - 2


def fixed(seed: int, random: Random) -> int:
    """The seed itself, or one drawn when it is -1."""
    return random.randrange(_DRAWN_BELOW) if seed == RANDOM else seed


def consecutive(first: int, count: int) -> tuple[int, ...]:
    """Picture i of a request gets seed + i."""
    return tuple(range(first, first + count))
