"""The sources of a file in their order: the next one when one has failed for good, or for long."""

import logging
from collections.abc import Callable, Sequence

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import Source
from sd_operator.fetch.verdict import Verified

# What no other source makes better.
_NOT_THE_SOURCES = frozenset(
    (
        errors.INVALID_REQUEST,
        errors.PATH_CONFLICT,
        errors.NO_SPACE,
        errors.VOLUME_ERROR,
        errors.INTERRUPTED,
    )
)
# Of what the first source said, when the others have something to say, too.
_FIRST_CHARACTERS = 400
_OTHER_CHARACTERS = 250

log = logging.getLogger(__name__)


def first_good(sources: Sequence[Source], fetch: Callable[[Source], Verified]) -> Verified:
    """What the first source gives that gives anything; FetchError with the words of all of them."""
    failures: list[FetchError] = []
    for source in sources:
        try:
            return fetch(source)
        except FetchError as failure:
            if failure.reason in _NOT_THE_SOURCES:
                raise
            failures.append(failure)
            if len(failures) < len(sources):
                log.warning("%s: %s; trying the next source", failure.reason, failure)
    raise _together(failures)


def _together(failures: Sequence[FetchError]) -> FetchError:
    first, *others = failures
    if not others:
        return first
    said = "; ".join(f"{each.reason}: {_short(each.message, _OTHER_CHARACTERS)}" for each in others)
    return FetchError(
        first.reason,
        f"{_short(first.message, _FIRST_CHARACTERS)}; the mirrors failed, too: {said}",
        retryable=any(each.retryable for each in failures),
        retry_after=_soonest(failures),
    )


def _soonest(failures: Sequence[FetchError]) -> float | None:
    """When one of them may be asked again: a source that wants an hour does not hold up its mirrors."""
    return min((each.retry_after or 0.0 for each in failures if each.retryable), default=0.0) or None


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
