"""How many processors a container may use, which libraries that count the machine's get wrong."""

import os
from pathlib import Path

#: Where a container sees its own cgroup.
_CGROUP = Path("/sys/fs/cgroup")
#: Microseconds of processor time in each period, e.g. "200000 100000" in the one file of the second version,
#: and in two files of the first, where -1 is no limit.
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
#: More threads than this gain the networks here nothing, and cost the server beside them.
_MOST = 8


def threads(cgroup: Path = _CGROUP) -> int:
    """As many as the scheduler and the container's limit let run at a time, a part counting as one; at most
    8."""
    allowed = len(os.sched_getaffinity(0))
    for files in _QUOTAS:
        try:
            given, period = " ".join((cgroup / each).read_text() for each in files).split()
            if given not in ("max", "-1"):
                allowed = min(allowed, -(-int(given) // int(period)))
        except (OSError, ValueError):
            continue  # no limit of this version that is known
    return max(1, min(allowed, _MOST))
