"""How much memory the container has and this process uses, from the kernel's files; and what of it is free is
given back."""

import ctypes
import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MACHINE = Path("/proc/meminfo")
_SELF = Path("/proc/self/statm")


def memory() -> dict[str, int]:
    """Bytes: `used` by this process, `total` of the container's limit or the machine, `free` between them."""
    used = int(_SELF.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    total = _limit()
    return {"free": max(total - used, 0), "used": used, "total": total}


def give_back_free() -> None:
    """Hands the memory that is free, and that the allocator keeps for later, back to the system, where it is
    glibc's. Takes up to a tenth of a second; other threads go on meanwhile."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _limit() -> int:
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        limit = "max"  # not the second version of cgroups, or not in one
    if limit != "max":
        return int(limit)
    first = _MACHINE.read_text().split("\n", 1)[0]  # MemTotal: 16384 kB
    return int(first.split()[1]) * 1024
