"""Between the queue and the kinds: hands a key to its kind's reconciler, measures, spreads the next look."""

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sd_operator import errors, log
from sd_operator.metrics import Metrics
from sd_operator.names import Key

logger = logging.getLogger(__name__)

#: Part of a delay by which looks are spread, so that objects made together are not looked at together.
SPREAD = 0.2


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
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._reconcilers = reconcilers
        self._metrics = metrics
        self._spread = spread

    async def work(self, key: Key) -> float | None:
        """One pass on the object with this key; errors are counted by reason and left to the queue."""
        started = time.perf_counter()
        with log.bound(key):
            try:
                after = await self._reconcilers[key.kind].reconcile(key)
            except errors.NamespaceEndingError:
                return None
            except Exception as error:
                reason = error.reason if isinstance(error, errors.OperatorError) else type(error).__name__
                self._metrics.errors.labels(key.kind, reason).inc()
                raise
            finally:
                self._metrics.reconcile_seconds.labels(key.kind).observe(time.perf_counter() - started)
        if after is None:
            return None
        return after * (1 - SPREAD + 2 * SPREAD * self._spread())
