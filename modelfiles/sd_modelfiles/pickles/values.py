"""What a pickle makes, written down instead of made: nothing here holds a weight or can be called.

Compared by identity throughout: values come from strangers, and comparing or hashing a deep nest of tuples
would end the process.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """A global that the pickle names."""

    module: str
    name: str

    @property
    def words(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """A dictionary, as the pairs that were put into it."""

    pairs: list[tuple[object, object]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Instance:
    """An object of an allowed class, and the state that it was given."""

    symbol: Symbol
    state: object = None


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of numbers that lies elsewhere in the file."""

    key: str
    dtype: str | None  # in the words of safetensors; None: bytes, whose reader knows what they are
    count: int  # of elements
    base: int = 0  # where it begins in what lies under the key, in elements


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides are in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Opaque:
    """Something whose inside is of no interest."""

    __slots__ = ()


# It holds no tensor: a device, a number of NumPy's, a set of words.
OPAQUE: Final = Opaque()
# It holds numbers that have no name, or are none of PyTorch's: an array of NumPy's, a set of tensors.
LOST: Final = Opaque()
