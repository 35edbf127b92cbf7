"""Maps much more than it is given as it is imported, and uses none of it, as libraries do for their threads.
A run whose strength is 2 wants a gigabyte."""

import mmap

from takes_memory import plugin

__all__ = ["plugin"]

_places = mmap.mmap(-1, 3 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
