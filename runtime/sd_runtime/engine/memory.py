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
        kept = torch.cuda.memory_reserved(self._handle) - torch.cuda.memory_allocated(self._handle)
        return on_device + kept

    def begin(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._handle)
        self._before = torch.cuda.memory_allocated(self._handle)

    def peak(self) -> int | None:
        return max(torch.cuda.max_memory_allocated(self._handle) - self._before, 0)

    def release(self) -> None:
        torch.cuda.empty_cache()

    def answers(self) -> bool:
        try:
            return float(torch.ones(1, device=self._handle).sum()) == 1.0
        except RuntimeError:
            return False


def meter_of(handle: torch.device) -> Meter:
    """The meter of a device."""
    return CudaMeter(handle) if handle.type == "cuda" else NoMeter()


#: How libraries of the device, and the processor's allocator, say it in a plain RuntimeError.
_WORDS = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
)


def ran_out(error: BaseException) -> bool:
    """Whether this is the device's way of saying that its memory was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def forget_traceback(error: BaseException) -> None:
    """Lets go of all that the functions held which the error passed through, and of what it came from."""
    chain: list[BaseException] = [error]
    while before := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(before)
    for each in chain:
        traceback.clear_frames(each.__traceback__)
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


class Guard:
    """Rows that a call may have, for each kind of call (a network and a latent shape)."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._bytes_per_row: dict[Hashable, float] = {}
        self._ceilings: dict[Hashable, int] = {}
        self._calls = 0

    def rows(self, kind: Hashable) -> int | None:
        """The most rows for the next call; None: no limit is known. At least 1: whether a single row fits is
        found out by trying."""
        limits = [self._ceilings[kind]] if kind in self._ceilings else []
        free, need = self.meter.free(), self._bytes_per_row.get(kind)
        if free is not None and need:
            limits.append(max(int(free * _USABLE / need), 1))
        return min(limits, default=None)

    def note(self, kind: Hashable, rows: int) -> None:
        """A call of so many rows was made."""
        peak = self.meter.peak()
        if peak is not None:
            self._bytes_per_row[kind] = max(self._bytes_per_row.get(kind, 0.0), peak / rows)
        self._calls += 1
        if self._calls % _CALLS_UNTIL_NEXT_TRY == 0:
            self._ceilings = {each: ceiling + 1 for each, ceiling in self._ceilings.items()}

    def note_failure(self, kind: Hashable, rows: int) -> None:
        """A call of so many rows ran out of memory."""
        self.meter.release()
        self._ceilings[kind] = max(min(self._ceilings.get(kind, rows), rows - 1), 1)
        logger.warning("a network call of %d rows ran out of memory; the next have fewer", rows)

    def forget(self) -> None:
        """Other networks are there now."""
        self._bytes_per_row.clear()
        self._ceilings.clear()
