"""How long a fetch keeps trying within one pod. After that its Job, or the operator, goes on.

An attempt that brought new bytes is no failure of the source: only attempts in a row without progress are
counted, so that a large file comes through a connection that breaks every minute.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from sd_operator.fetch.errors import INTERRUPTED, NO_SPACE, FetchError

_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    attempts: int = 5  # in a row without progress
    progress_bytes: int = 1024 * 1024  # fewer new bytes than this are no progress
    first_wait: float = 1.0  # seconds; doubles
    longest_wait: float = 30.0
    # For a source that asks for more than this no pod waits: the verdict tells the operator when the source
    # may be asked again.
    longest_retry_after: float = 120.0
    # A connection that brings fewer bytes per second over so many seconds is given up for another one.
    slowest_rate: float = 1024.0
    slow_seconds: float = 60.0


def persist(
    attempt: Callable[[], _Result],
    *,
    progress: Callable[[], int],
    patience: Patience,
    sleep: Callable[[float], None] = time.sleep,
) -> _Result:
    """Run the attempt until it succeeds, fails for good, or patience ends; then raise its last FetchError."""
    tally = _Tally(patience, progress)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_worth_retrying),
        stop=tally.is_enough,
        wait=tally.wait,
        sleep=sleep,
        before_sleep=_say,
        reraise=True,
    )(attempt)


class _Tally:
    """Counts attempts without progress."""

    def __init__(self, patience: Patience, progress: Callable[[], int]) -> None:
        self._patience = patience
        self._progress = progress
        # An earlier process's bytes are none of this one's progress.
        self._highest = progress()
        self._barren = 0
        self._counted = 0

    def is_enough(self, state: tenacity.RetryCallState) -> bool:
        self._count(state)
        if (_retry_after(state) or 0.0) > self._patience.longest_retry_after:
            return True
        return self._barren >= self._patience.attempts

    def wait(self, state: tenacity.RetryCallState) -> float:
        self._count(state)
        patience = self._patience
        backoff = min(patience.longest_wait, patience.first_wait * 2.0 ** max(0, self._barren - 1))
        # Spread: the pods of one bundle fail together and must not come back together.
        return (_retry_after(state) or 0.0) + backoff * random.uniform(0.5, 1.0)

    def _count(self, state: tenacity.RetryCallState) -> None:
        """Once per attempt, whichever of stop and wait is asked first."""
        if state.attempt_number == self._counted:
            return
        self._counted = state.attempt_number
        reached = self._progress()
        # Against the highest mark: a download that starts over again and again makes no progress.
        if reached >= self._highest + self._patience.progress_bytes:
            self._highest = reached
            self._barren = 0
        else:
            self._barren += 1


def _failure(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _retry_after(state: tenacity.RetryCallState) -> float | None:
    failure = _failure(state)
    return failure.retry_after if isinstance(failure, FetchError) else None


# Retryable, but not within seconds: a pod that must stop, a volume that somebody has to enlarge.
_NOT_NOW = (INTERRUPTED, NO_SPACE)


def _worth_retrying(failure: BaseException) -> bool:
    return isinstance(failure, FetchError) and failure.retryable and failure.reason not in _NOT_NOW


def _say(state: tenacity.RetryCallState) -> None:
    wait = state.next_action.sleep if state.next_action is not None else 0.0
    log.warning("attempt %d failed: %s; trying again in %.1f s", state.attempt_number, _failure(state), wait)
