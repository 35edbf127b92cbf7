"""What a source's answer means: its status and headers, turned into facts or into a FetchError.

Pure: looks at headers, reads no body. Messages name the source by its identity, because the address itself,
or the one it redirects to, may carry a signature.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.sources import Location

_ADVICE = {
    401: "it asks for credentials; only sources open to everyone can be fetched",
    403: "it refuses access; only sources open to everyone can be fetched",
    404: "check the address",
    410: "the file was removed there; choose another source",
}
_REASONS = {
    401: errors.UNAUTHORIZED,
    403: errors.FORBIDDEN,
    404: errors.NOT_FOUND,
    410: errors.NOT_FOUND,
}
# Answers that pass with time: the request took too long, came too early, or the server is restarting.
_PASSING = {408, 421, 423, 425}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    start: int  # the offset of the body's first byte in the file
    total: int | None  # the size of the file, when the source says it
    etag: str | None  # only a strong one: a weak one does not promise equal bytes
    version: str | None


def understand(response: httpx.Response, location: Location, *, now: datetime | None = None) -> Answer:
    """The facts of a good answer (200 or 206); a FetchError for any other."""
    if response.status_code not in (200, 206):
        raise _refusal(response, location, now or datetime.now(UTC))
    coding = response.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise FetchError(
            errors.SOURCE_REFUSED,
            f"{location.identity} sends the file with Content-Encoding {coding!r} although identity was "
            "asked for; switch compression off for this file there",
        )
    start, total = _range(response, location) if response.status_code == 206 else (0, _length(response))
    return Answer(start=start, total=total, etag=_strong_etag(response), version=_version(response, location))


def _refusal(response: httpx.Response, location: Location, now: datetime) -> FetchError:
    status = response.status_code
    answered = f"{location.identity} answered {status} {response.reason_phrase}".rstrip()
    retry_after = _retry_after(response, now)
    if status == 429:
        return FetchError(
            errors.RATE_LIMITED,
            f"{answered}: too many requests; fetching goes on later",
            retryable=True,
            retry_after=retry_after,
        )
    if status >= 500 or status in _PASSING:
        return FetchError(errors.SERVER_ERROR, answered, retryable=True, retry_after=retry_after)
    if status < 400:
        return FetchError(errors.SOURCE_REFUSED, f"{answered}, which is no file; check the address")
    reason = _REASONS.get(status, errors.SOURCE_REFUSED)
    advice = location.advice.get(status) or _ADVICE.get(status, "check the address")
    return FetchError(reason, f"{answered}: {advice}")


def _range(response: httpx.Response, location: Location) -> tuple[int, int | None]:
    value = response.headers.get("content-range", "")
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", value)
    if match is None:
        raise FetchError(
            errors.SERVER_ERROR,
            f"{location.identity} answered 206 with the Content-Range {value[:80]!r}",
            retryable=True,
        )
    return int(match[1]), None if match[3] == "*" else int(match[3])


def _length(response: httpx.Response) -> int | None:
    value = response.headers.get("content-length", "")
    # With Transfer-Encoding: chunked the length, if any, is not the body's.
    if "transfer-encoding" in response.headers or not re.fullmatch(r"\d{1,18}", value):
        return None
    return int(value)


def _strong_etag(response: httpx.Response) -> str | None:
    etag: str = response.headers.get("etag", "")
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]+"', etag) else None


def _version(response: httpx.Response, location: Location) -> str | None:
    """The hub names the version in its redirect; the storage it redirects to does not."""
    if location.version_header is None:
        return None
    for each in (response, *reversed(response.history)):
        value: str = each.headers.get(location.version_header, "")
        if re.fullmatch(r"[\w.-]{1,100}", value):
            return value
    return None


def _retry_after(response: httpx.Response, now: datetime) -> float | None:
    value: str = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
