"""How fast this process makes steps, measured, and when a job will have ended at that rate.

The engine gives every picture its turn, so a job waits for the steps of the others only as long as it has
steps left itself. Pure; told the time.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

#: Steps that are looked back on: long enough for calls of all sizes, short enough to follow a change of load.
_WINDOW = 256
#: Of two steps further apart than this the device did something else (it loaded, or had nothing to do).
_LONGEST_STEP = 120.0


class StepRate:
    """Steps a second, over the time that there was something to do."""

    def __init__(self) -> None:
        self._busy = 0.0
        self._last: float | None = None
        self._marks: deque[float] = deque(maxlen=_WINDOW)

    def begin(self, now: float) -> None:
        """Work came, where there was none."""
        self._last = now

    def note(self, now: float) -> None:
        """A picture made a step."""
        if self._last is not None and now - self._last <= _LONGEST_STEP:
            self._busy += now - self._last
        self._last = now
        self._marks.append(self._busy)

    def per_second(self) -> float | None:
        """Steps a second; None before two moments with steps are known."""
        marks = tuple(self._marks)  # the device thread goes on noting
        if not marks or marks[-1] <= marks[0]:
            return None
        # All steps of one call are told at once: those of the first moment belong to the time before it.
        steps = sum(mark > marks[0] for mark in marks)
        return steps / (marks[-1] - marks[0])


@dataclass(frozen=True, slots=True)
class Left:
    """What a job has before it: pictures at a time, and steps one after the other."""

    pictures: int
    steps: float


def seconds_until(job: Left, others: Iterable[Left], rate: float) -> float:
    """Seconds until the job has made its steps, in turns with the others, at so many steps a second."""
    shared = sum(other.pictures * min(other.steps, job.steps) for other in others)
    return (job.pictures * job.steps + shared) / rate
