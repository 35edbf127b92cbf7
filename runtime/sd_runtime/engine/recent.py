"""What was learned of the kinds of call that were made last. Pure."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Known = TypeVar("Known")

#: Every checkpoint and size of picture makes a kind of its own, and clients choose both; of one that comes
#: back after so many others it is learned again.
KINDS = 256


class Recent(Generic[Known]):
    """A record for each kind, the one used last at the end; those not used for longest are forgotten."""

    def __init__(self, new: Callable[[], Known]) -> None:
        """`new` is the record of a kind of which nothing is known."""
        self._new = new
        self._records: OrderedDict[Hashable, Known] = OrderedDict()

    def of(self, kind: Hashable) -> Known:
        """The kind's record, which becomes the one used last."""
        if kind not in self._records:
            self._records[kind] = self._new()
            if len(self._records) > KINDS:
                self._records.popitem(last=False)
        self._records.move_to_end(kind)
        return self._records[kind]

    def all(self) -> Iterable[Known]:
        """Every record."""
        return self._records.values()

    def clear(self) -> None:
        """Nothing is known any more."""
        self._records.clear()
