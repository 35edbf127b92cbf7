"""The order of what waits: urgent things four times as often as the rest, and each group in its turn.

Pure bookkeeping, no time and no tasks. A thing is in here once. Groups (the queue's are namespaces) are
served round robin, so the thousands of one group do not keep another's single thing waiting.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: Urgent things served for each other one while both wait.
URGENT_SHARE = 4


class Lane(Generic[K]):
    """First in, first out within a group; the groups take turns."""

    def __init__(self, group: Callable[[K], Hashable]) -> None:
        self._group = group
        self._groups: OrderedDict[Hashable, OrderedDict[K, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, key: K) -> None:
        """Queue it behind its group."""
        self._groups.setdefault(self._group(key), OrderedDict())[key] = None

    def discard(self, key: K) -> None:
        """Take it out, wherever it stands."""
        group = self._group(key)
        self._groups[group].pop(key)
        if not self._groups[group]:
            del self._groups[group]

    def pop(self) -> K:
        """The oldest of the group whose turn it is."""
        group, keys = next(iter(self._groups.items()))
        key, _ = keys.popitem(last=False)
        if keys:
            self._groups.move_to_end(group)
        else:
            del self._groups[group]
        return key


class Lanes(Generic[K]):
    """Two lanes; nothing starves in either."""

    def __init__(self, group: Callable[[K], Hashable]) -> None:
        self._urgent: Lane[K] = Lane(group)
        self._normal: Lane[K] = Lane(group)
        self._waiting: dict[K, bool] = {}
        self._served = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: K) -> bool:
        return key in self._waiting

    def add(self, key: K, *, urgent: bool) -> None:
        """Queue it, or make it urgent where it waits."""
        if key in self._waiting:
            if self._waiting[key] or not urgent:
                return
            self._normal.discard(key)
        self._waiting[key] = urgent
        (self._urgent if urgent else self._normal).add(key)

    def pop(self) -> K:
        """The next; there must be one."""
        if self._urgent and (self._served < URGENT_SHARE or not self._normal):
            self._served = min(self._served + 1, URGENT_SHARE)
            key = self._urgent.pop()
        else:
            self._served = 0
            key = self._normal.pop()
        del self._waiting[key]
        return key

    def clear(self) -> None:
        """Forget everything."""
        while self._waiting:
            self.pop()
