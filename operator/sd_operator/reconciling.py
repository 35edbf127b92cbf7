"""Between the queue and the kinds: hands a key to its kind's reconciler, measures, spreads the next look.

A key that fails again and again is told of, so that its object does not go on saying what held before.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from sd_operator import errors, log
from sd_operator.metrics import Metrics
from sd_operator.names import Key

logger = logging.getLogger(__name__)

#: Part of a delay by which looks are spread, so that objects made together are not looked at together.
SPREAD = 0.2


#: Failures in a row after which the object itself says so, and again after twice as many, and so on. Fewer
#: pass unnoticed; and as a status write wakes the key, words that change each time must not each be written.
TELL_AFTER = 3

#: Says on the object of this key what fails; must not fail itself for what the cluster answers.
Tell = Callable[[Key, Exception], Awaitable[None]]


class Reconciler(Protocol):
    """One kind's story."""

    async def reconcile(self, key: Key) -> float | None:
        """One pass; returns the seconds until the next look, or None when the object is gone."""


class Dispatcher:
    """The queue's handler."""

    def __init__(
        self,
        reconcilers: Mapping[str, Reconciler],
        metrics: Metrics,
        *,
        tell: Tell,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._reconcilers = reconcilers
        self._metrics = metrics
        self._tell = tell
        self._spread = spread
        self._failures: dict[Key, int] = {}

    async def work(self, key: Key) -> float | None:
        """One pass on the object with this key; errors are counted by reason and left to the queue."""
        started = time.perf_counter()
        with log.bound(key):
            try:
                after = await self._reconcilers[key.kind].reconcile(key)
            except errors.NamespaceEndingError:
                after = None
            except Exception as error:
                await self._failed(key, error)
                raise
            finally:
                self._metrics.reconcile_seconds.labels(key.kind).observe(time.perf_counter() - started)
        self._failures.pop(key, None)
        if after is None:
            return None
        return after * (1 - SPREAD + 2 * SPREAD * self._spread())

    async def _failed(self, key: Key, error: Exception) -> None:
        reason = error.reason if isinstance(error, errors.OperatorError) else type(error).__name__
        self._metrics.errors.labels(key.kind, reason).inc()
        self._failures[key] = self._failures.get(key, 0) + 1
        rounds, rest = divmod(self._failures[key], TELL_AFTER)
        if rest == 0 and rounds.bit_count() == 1:
            await self._tell(key, error)
