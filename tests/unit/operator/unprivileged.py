"""For tests of what may not be read: root may read everything, so for a while the process is nobody."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """The process as a user to whom the folder belongs and who has no more rights than its modes give."""
    if os.geteuid() != 0:
        yield
        return
    top = Path(tempfile.gettempdir())
    # pytest keeps its folders to root: they must be passed through.
    above = [
        (each, each.stat().st_mode) for each in folder.parents if each.is_relative_to(top) and each != top
    ]
    for each, mode in above:
        each.chmod(mode | 0o011)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for each, mode in above:
            each.chmod(mode)
