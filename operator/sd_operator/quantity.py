"""Kubernetes quantities: enough to compare and to add them."""

import re
from decimal import ROUND_CEILING, Decimal

#: For the schema: what the API server takes for an amount, none of which is below zero.
PATTERN = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2}|[numkMGTPE]|[KMGTPE]i)?$"

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_FORM = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)")


#: The API server stores no more than this, and nothing finer than a thousandth.
_LARGEST = Decimal(2**63 - 1)
_FINEST = Decimal("1e-3")


def parse(text: str | int | float) -> Decimal | None:
    """The value, or None when it is no quantity."""
    match = _FORM.fullmatch(str(text))
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    try:
        if exponent:
            return Decimal(number + exponent)
        return Decimal(number) * _SUFFIXES[suffix or ""]
    except ArithmeticError:
        # More digits, or a larger exponent, than anybody counts.
        return None


def stored(text: str | int | float) -> Decimal | None:
    """The value as the API server keeps it: rounded up to a thousandth, and capped."""
    value = parse(text)
    if value is None:
        return None
    if value >= _LARGEST:
        return _LARGEST
    try:
        return value.quantize(_FINEST, rounding=ROUND_CEILING)
    except ArithmeticError:
        return None


def same(one: object, other: object) -> bool:
    """Whether two spellings ('0.5', '500m') are stored as one quantity; the API server rewrites them."""
    if not isinstance(one, str | int | float) or not isinstance(other, str | int | float):
        return False
    value = stored(one)
    return value is not None and value == stored(other)
