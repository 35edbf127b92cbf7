"""The device's memory: how many rows a call may have, and what a call that ran out of it teaches.

A call's need grows with its rows and with the area of the latents; how much a row takes is learned from the
calls that were made. Where memory cannot be measured (the processor's), only calls that ran out of it limit
the next.
"""

import logging
import traceback
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import torch

from sd_runtime.engine.recent import Recent
from sd_runtime.models.shortage import ran_out

logger = logging.getLogger(__name__)

#: Of the free memory, what a call may be predicted to take: allocators keep to no exact figure.
_USABLE = 0.85
#: A limit that was learned from running out is tried again, one row more, after so many calls.
_CALLS_UNTIL_NEXT_TRY = 500


class Meter(Protocol):
    """What can be known of a device's memory."""

    def free(self) -> int | None:
        """Bytes that could still be allocated; None where that is not known."""
        ...

    def begin(self) -> None:
        """A call begins: its greatest need is measured from here."""
        ...

    def peak(self) -> int | None:
        """The most bytes that were in use since `begin` beyond those in use then."""
        ...

    def release(self) -> None:
        """Give back what is only kept for reuse."""
        ...

    def answers(self) -> bool:
        """Whether the device still computes."""
        ...


class NoMeter:
    """The processor's memory, which nobody hands out: a call takes what it takes."""

    def free(self) -> int | None:
        return None

    def begin(self) -> None: ...

    def peak(self) -> int | None:
        return None

    def release(self) -> None: ...

    def answers(self) -> bool:
        return True


class CudaMeter:
    """A GPU's memory, as torch's allocator sees it."""

    def __init__(self, handle: torch.device) -> None:
        self._handle = handle
        self._before = 0

    def free(self) -> int | None:
        on_device, _ = torch.cuda.mem_get_info(self._handle)
        return (
            on_device + self._bytes("reserved_bytes")["current"] - self._bytes("allocated_bytes")["current"]
        )

    def begin(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._handle)
        self._before = self._bytes("allocated_bytes")["current"]

    def peak(self) -> int | None:
        return max(self._bytes("allocated_bytes")["peak"] - self._before, 0)

    def _bytes(self, of: str) -> dict[str, int]:
        # torch.cuda.memory_allocated and its like sort all their figures into a flat table first, several
        # times a call of the network, which costs as much as the rest of the engine.
        found: dict[str, int] = torch.cuda.memory_stats_as_nested_dict(self._handle)[of]["all"]
        return found

    def release(self) -> None:
        torch.cuda.empty_cache()

    def answers(self) -> bool:
        try:
            return float(torch.ones(1, device=self._handle).sum()) == 1.0
        except RuntimeError as error:
            return ran_out(error)


def meter_of(handle: torch.device) -> Meter:
    """The meter of a device."""
    return CudaMeter(handle) if handle.type == "cuda" else NoMeter()


def forget_traceback(error: BaseException) -> None:
    """Lets go of all that the functions held which the error passed through, and of what it came from."""
    next_one: BaseException | None = error
    while next_one is not None:
        each, next_one = next_one, next_one.__cause__ or next_one.__context__
        traceback.clear_frames(each.__traceback__)
        # As it goes along: errors may be each other's cause, or their own.
        each.__traceback__ = each.__cause__ = each.__context__ = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a piece of work, without what it held in memory."""

    error: Exception
    ran_out: bool

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Where memory ran out, the error's traceback would keep everything that the work had computed until
        then alive, for as long as the error is: smaller pieces would find no room beside it."""
        out = ran_out(error)
        if out:
            forget_traceback(error)
        return cls(error, out)


@dataclass(slots=True)
class _Kind:
    """What calls of one kind have taught."""

    bytes_per_row: float = 0.0
    #: Rows, after a call that ran out of memory.
    ceiling: int | None = None


class Guard:
    """Rows that a call may have, for each kind of call (a network and a latent shape)."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._kinds: Recent[_Kind] = Recent(_Kind)
        self._calls = 0

    def rows(self, kind: Hashable) -> int | None:
        """The most rows for the next call; None: no limit is known. At least 1: whether a single row fits is
        found out by trying."""
        known, free = self._kinds.of(kind), self.meter.free()
        limits = [] if known.ceiling is None else [known.ceiling]
        if free is not None and known.bytes_per_row:
            limits.append(max(int(free * _USABLE / known.bytes_per_row), 1))
        return min(limits, default=None)

    def note(self, kind: Hashable, rows: int) -> None:
        """A call of so many rows was made."""
        known, peak = self._kinds.of(kind), self.meter.peak()
        if peak is not None:
            known.bytes_per_row = max(known.bytes_per_row, peak / rows)
        self._calls += 1
        if self._calls % _CALLS_UNTIL_NEXT_TRY == 0:
            for each in self._kinds.all():
                each.ceiling = None if each.ceiling is None else each.ceiling + 1

    def note_failure(self, kind: Hashable, rows: int) -> None:
        """A call of so many rows ran out of memory. The next have half as many: one less each time would be
        a failed call each time."""
        self.meter.release()
        known, half = self._kinds.of(kind), max(rows // 2, 1)
        known.ceiling = half if known.ceiling is None else min(known.ceiling, half)
        logger.warning("a network call of %d rows ran out of memory; the next have %d", rows, known.ceiling)
