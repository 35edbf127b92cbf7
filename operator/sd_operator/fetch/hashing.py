"""The sha256 of a whole file of a volume."""

import hashlib
from pathlib import Path

from sd_operator.fetch.stopping import Stop

_READ_BYTES = 1024 * 1024


def sha256_of(path: Path, stop: Stop) -> str:
    """In hex. A stop takes effect at once."""
    digest, buffer = hashlib.sha256(), bytearray(_READ_BYTES)
    with stop.interruptible(), path.open("rb", buffering=0) as file, memoryview(buffer) as view:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()
