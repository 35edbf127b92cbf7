"""What lies on the mounted volumes, by their manifests: which files there are and with which digests.

Nothing is hashed: a digest is what the fetcher found when it wrote the file.
"""

import logging
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from sd_modelfiles import manifest

logger = logging.getLogger(__name__)


def entries(root: Path) -> tuple[manifest.Entry, ...]:
    """What the volume's manifest lists; nothing when there is none that can be read, which is logged."""
    try:
        return manifest.load(root).files
    except (manifest.ManifestError, OSError) as error:
        logger.warning("what is on the volume is not known: %s", error)
        return ()


def present(roots: Iterable[Path]) -> Iterator[tuple[Path, manifest.Entry]]:
    """The listed files that are there now with the size their manifest tells, each with its root."""
    for root in roots:
        for entry in entries(root):
            if _has_size(root / entry.path, entry.size):
                yield root, entry


def _has_size(path: Path, size: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size
