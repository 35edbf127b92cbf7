"""What was asked of the servers and how much they sent, by path; and the rate that a path's answers share.

Kept for this process. `sent` counts the bytes of bodies that were given to the connection, which has a small
buffer: it is a little more than a client that was killed has received.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Ask:
    """A request, and what came of it."""

    method: str
    host: str
    #: The header, or "" without one.
    authorization: str
    range: str
    if_range: str
    status: int = 0
    #: Where in the file the body begins, and how many bytes of it were sent.
    start: int = 0
    sent: int = 0


@dataclass(slots=True)
class Tally:
    """The requests of one path."""

    asks: list[Ask] = field(default_factory=list)
    #: Requests that had the trouble of a plan.
    faults: int = 0
    #: When the next byte may be sent, where the rate is limited.
    due: float = 0.0

    @property
    def sent(self) -> int:
        return sum(ask.sent for ask in self.asks)

    async def pace(self, size: int, rate: float) -> None:
        """Wait until so many bytes may be sent; of all answers of the path together."""
        now = time.monotonic()
        # Time that nobody used is not saved up: no burst follows a pause.
        self.due = max(self.due, now) + size / rate
        await asyncio.sleep(self.due - now)

    def told(self) -> dict[str, Any]:
        asks = [asdict(ask) for ask in self.asks]
        return {"requests": len(asks), "sent": self.sent, "twice": self.twice(), "asks": asks}

    def twice(self) -> int:
        """Bytes that were sent again after they had been sent."""
        spans = sorted((ask.start, ask.start + ask.sent) for ask in self.asks if ask.sent)
        covered, reached = 0, 0
        for start, end in spans:
            covered += max(0, end - max(start, reached))
            reached = max(reached, end)
        return self.sent - covered


class Counts:
    """All paths. The S3 server's threads count here too."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._lock = threading.Lock()

    def of(self, path: str) -> Tally:
        with self._lock:
            return self._tallies.setdefault(path, Tally())

    def add(self, path: str, ask: Ask) -> Tally:
        tally = self.of(path)
        tally.asks.append(ask)
        return tally

    def reset(self, prefix: str) -> None:
        with self._lock:
            for path in [*self._below(prefix)]:
                del self._tallies[path]

    def told(self, prefix: str) -> dict[str, Any]:
        with self._lock:
            return {path: self._tallies[path].told() for path in self._below(prefix)}

    def _below(self, prefix: str) -> Iterator[str]:
        return (path for path in self._tallies if path.startswith(prefix))
