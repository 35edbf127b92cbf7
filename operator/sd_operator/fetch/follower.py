"""The hash of a download, made while it goes on: follows the bytes that have no gap before them.

They are read back from the page cache right after they were written, so that the order in which ranges arrive
does not matter; and those of an earlier process are read from the disk, in the same pass.
"""

import hashlib
import logging
import threading

from sd_operator.fetch.partial import Partial

_READ_BYTES = 1024 * 1024
# How long to wait for more bytes when there are few.
_PAUSE_SECONDS = 0.02
# Bytes between two times that what was written is made to survive a crash of the node. It also keeps the last
# time short, on which the fetch waits.
_SYNC_BYTES = 64 * 1024 * 1024

log = logging.getLogger(__name__)


class Follower:
    """The hash of a partial file as far as it is known."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._hash = hashlib.sha256()
        self._buffer = bytearray(_READ_BYTES)
        self.position = 0

    def reset(self) -> None:
        """The file starts over."""
        self._hash = hashlib.sha256()
        self.position = 0

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def follow(self, ending: threading.Event, stopping: threading.Event) -> None:
        """Hash until everything there is was hashed after the end was announced; or until stopped."""
        while not stopping.is_set():
            ended = ending.is_set()
            ready = self._partial.frontier() - self.position
            if ready >= _READ_BYTES or (ended and ready):
                self._hash_next(min(ready, _READ_BYTES))
            elif ended:
                return
            else:
                ending.wait(_PAUSE_SECONDS)

    def _hash_next(self, length: int) -> None:
        with memoryview(self._buffer) as buffer:
            count = self._partial.read_into(buffer[:length], self.position)
            if count == 0:
                raise OSError(f"{self._partial.path} is shorter than what was written to it")
            self._hash.update(buffer[:count])
        self.position += count


def write_back(partial: Partial, ending: threading.Event) -> None:
    """Make the bytes durable every now and then, and when the end is announced."""
    synced = partial.present
    while not ending.wait(_PAUSE_SECONDS):
        if partial.present - synced >= _SYNC_BYTES:
            synced = partial.present
            partial.sync()
    if partial.present != synced:
        partial.sync()
