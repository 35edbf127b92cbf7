"""Which connection brings which bytes: the spans that wait, and the claims on those that are being brought.

A connection that has nothing left to do takes over from one that is much slower; each byte still comes once.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from sd_operator.fetch.journal import Span

_POLL_SECONDS = 0.2
# A claim is taken over after so long, when it would take so much longer, from a connection so much slower.
_TRIAL_SECONDS = 2.0
_LONG_SECONDS = 10.0
_SLOWER = 4.0


class Claim:
    """A span that one connection brings; its end moves when another one takes over the rest."""

    def __init__(self, span: Span, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._start = span.start
        self._end = span.end
        self._begun = clock()
        self.span = span  # as it was claimed
        self.reached = span.start

    @property
    def is_done(self) -> bool:
        return self.reached >= self._end

    def rest(self) -> Span:
        return Span(self.reached, self._end)

    def rate(self) -> float:
        """Bytes per second."""
        return (self.reached - self._start) / max(self._clock() - self._begun, 0.001)

    def bring(self, chunk: bytes, write: Callable[[int, bytes], None]) -> bool:
        """Write the next bytes as far as they are still this claim's; False once some are not."""
        with self._lock:
            mine = chunk[: self._end - self.reached]
            write(self.reached, mine)
            self.reached += len(mine)
            return len(mine) == len(chunk)

    def give_up(self) -> Span:
        """Leave the rest to another one."""
        with self._lock:
            rest, self._end = self.rest(), self.reached
            return rest

    def is_slow(self, pace: float) -> bool:
        """Whether a connection of this pace should take over."""
        rate = self.rate()
        if self._clock() - self._begun < _TRIAL_SECONDS or rate * _SLOWER > pace:
            return False
        return self._end - self.reached > _LONG_SECONDS * rate


class Supply:
    """The spans of a file that are missing. Connections ask for one after the other."""

    def __init__(self, missing: Sequence[Span], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = threading.Condition()
        self._waiting = deque(missing)
        self._claims: list[Claim] = []
        self._ended = False

    def __len__(self) -> int:
        return len(self._waiting)

    def claim(self, pace: float) -> Claim | None:
        """Something to bring, for a connection that brought so many bytes per second; None when all is there.

        Waits while others bring the last spans: they may fail, or be slow.
        """
        with self._turn:
            while not self._ended and (self._waiting or self._claims):
                slow = next((claim for claim in self._claims if claim.is_slow(pace)), None)
                if self._waiting:
                    return self._claimed(self._waiting.popleft())
                if slow is not None:
                    return self._claimed(slow.give_up())
                self._turn.wait(_POLL_SECONDS)
            return None

    def _claimed(self, span: Span) -> Claim:
        claim = Claim(span, self._clock)
        self._claims.append(claim)
        return claim

    def settle(self, claim: Claim) -> None:
        """The connection is through with it; what it did not bring waits for another one."""
        with self._turn:
            self._claims.remove(claim)
            if not claim.is_done:
                self._waiting.appendleft(claim.rest())
            self._turn.notify_all()

    def end(self) -> None:
        """Nothing is claimed after this."""
        with self._turn:
            self._ended = True
            self._turn.notify_all()
