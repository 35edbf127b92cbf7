"""How many evaluations a call of the network should join, learned from how long calls took.

More rows a call are worth their wait only while they make a row cheaper: a small network leaves the device
idle between calls, a large one fills it with a single picture, and then a larger call only makes newcomers,
cancellations and previews wait. So the size is doubled for as long as a doubling was seen to pay. Pure.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

from sd_runtime.engine.recent import Recent

#: A doubling pays if it takes this much off the time of a row.
_GAIN = 0.05
#: Weight of the newest measurement: machines are noisy, and get slower and faster.
_NEWEST = 0.3
#: A doubling that did not pay is tried again after so many calls.
_CALLS_UNTIL_NEXT_TRY = 200


@dataclass(slots=True)
class _Kind:
    """Of each size (1, 2, 4, … evaluations): the measured seconds of a row, and the calls made."""

    seconds: dict[int, float] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)


class Pace:
    """The measured time of a row, for each kind of call and each size."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._kinds: Recent[_Kind] = Recent(_Kind)

    def limit(self, kind: Hashable) -> int:
        """Evaluations that the next call of this kind may join."""
        seconds = self._kinds.of(kind).seconds
        size = 1
        while size < self._ceiling and size in seconds:
            larger = seconds.get(2 * size)
            if larger is not None and larger > (1 - _GAIN) * seconds[size]:
                break
            size *= 2
        return min(size, self._ceiling)

    def note(self, kind: Hashable, *, evaluations: int, rows: int, seconds: float) -> None:
        """A call took so long."""
        known = self._kinds.of(kind)
        size = 1 << (evaluations.bit_length() - 1)
        calls = known.calls[size] = known.calls.get(size, 0) + 1
        # The first call of a size pays for memory and plans that later ones find ready.
        if calls == 1:
            return
        measured = seconds / rows
        before = known.seconds.setdefault(size, measured)
        known.seconds[size] = before + _NEWEST * (measured - before)
        if calls % _CALLS_UNTIL_NEXT_TRY == 0:
            for larger in [each for each in known.seconds if each > size]:
                del known.seconds[larger], known.calls[larger]

    def forget(self) -> None:
        """Other networks are there now."""
        self._kinds.clear()
