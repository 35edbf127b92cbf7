"""What lies on the mounted volumes, by their manifests: which files there are and with which digests.

Nothing is hashed: a digest is what the fetcher found when it wrote the file.
"""

import logging
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
