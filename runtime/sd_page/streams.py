"""How many answers without an end the page may hold open: each takes one of the server's connections, of
which the interface needs its own. Knows neither what they tell nor how.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

#: Of each kind (that a page is open, and what its events tell) in one process, and of these for one session.
#: A page needs one of each; a browser that reconnects may not have let go of its last one yet. Both kinds
#: together must stay well below the server's connections (sd_runtime.serving).
MOST, MOST_OF_SESSION = 128, 3


class Share:
    """The streams of one kind."""

    def __init__(self, most: int = MOST, of_session: int = MOST_OF_SESSION) -> None:
        self._most = most
        self._of_session = of_session
        self._open: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether there is no place for a further session."""
        return self._open.total() >= self._most

    @contextmanager
    def place(self, session: str) -> Iterator[str | None]:
        """A place as long as the context lasts; gives what is wrong, in a sentence, where there is none."""
        if self.is_full:
            yield f"the page is open {self._most} times, which is as often as this server takes; close some"
        elif self._open[session] >= self._of_session:
            yield f"this session has {self._of_session} streams open, which is as many as it may have"
        else:
            self._open[session] += 1
            try:
                yield None
            finally:
                self._open[session] -= 1
                if not self._open[session]:
                    del self._open[session]
