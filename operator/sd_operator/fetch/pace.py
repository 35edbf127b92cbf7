"""How slow a connection may be. Pure, but for the clock of whoever asks."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """The bytes of one connection, over windows of the time that was spent waiting for them.

    The time it takes to store them is none of the source's.
    """

    least: float  # bytes per second
    window: float  # seconds
    _waited: float = 0.0
    _received: int = 0

    def keeps(self, received: int, waited: float) -> bool:
        """Note some bytes; whether the connection is still fast enough."""
        self._waited += waited
        self._received += received
        if self._waited < self.window:
            return True
        kept = self._received >= self.least * self._waited
        self._waited, self._received = 0.0, 0
        return kept
