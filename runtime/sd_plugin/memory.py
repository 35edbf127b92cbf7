"""The worker's share of the container's memory.

Where a container runs out, the kernel ends processes of it; with the second version of cgroups the kubelet
has it end all of them, the supervisor included, and with that the pod's sidecar. So the worker may take a
little less than there is: what it asks for beyond that is refused, which costs a run, or the worker at most.
"""

import logging
import re
import resource
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

#: Of the second and the first version of cgroups, as a container sees its own.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_STATUS = Path("/proc/self/status")
#: For the supervisor, and for what the kernel counts besides the worker's own data.
_RESERVE = 64 << 20
#: The first version's word for no limit is a number of this order.
_NO_LIMIT = 1 << 60
#: How NumPy's, OpenCV's, torch's and C++'s own words begin, none of which agree on an exception.
_SHORT = re.compile(
    r"(?i)can(?:'|no)?t allocate|failed to alloc|bad.?alloc|out of memory|insufficient memory"
)


def of_container(files: Iterable[Path] = _LIMITS) -> int | None:
    """Bytes that the container may have; None where there is no limit that is known."""
    for each in files:
        try:
            told = int(each.read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
        if told < _NO_LIMIT:
            return told
    return None


def share(most: int) -> int:
    """Of so many bytes, those that the worker may take."""
    return max(most - _RESERVE, most // 2)


def limit(most: int | None) -> None:
    """Has this process refused what it asks for beyond its share of so many bytes; None: beyond nothing.

    To be called once libraries are imported. What the kernel limits is what a process may write to, used or
    not, and libraries set aside far more than they use, some of it for each of the machine's processors. So
    what is set aside by now is left out, and only what is in memory of it counts. What comes later counts as
    it is asked for: 8 MB for each thread, and files that are mapped to be written to, as safetensors' are.
    """
    if most is None:
        return
    mapped, taken = _now()
    wanted = mapped + max(share(most) - taken, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )
    logger.info("the worker may take %d MB of memory", share(most) // 10**6)


def _now() -> tuple[int, int]:
    """Bytes that this process may write to, and those of its own that are in memory (see proc(5))."""
    told = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    mapped, taken = (int(told[key].split()[0]) << 10 for key in ("VmData", "RssAnon"))
    return mapped, taken


def is_short(error: BaseException | None) -> bool:
    """Whether the error, or what led to it, is that memory was refused."""
    while error is not None:
        if isinstance(error, MemoryError) or _SHORT.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
