"""What a source's answer means: its status and headers, turned into facts or into a FetchError.

Looks at headers; of an answer that is no file, sources may look at the beginning of its body too. Messages
name the source by its identity, because the address itself, or the one it redirects to, may carry a
signature.
"""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network.client import secret_of, were_withheld
from sd_operator.fetch.network.failing import failing
from sd_operator.fetch.sources.location import Location

_REASONS = {
    401: errors.UNAUTHORIZED,
    403: errors.FORBIDDEN,
    404: errors.NOT_FOUND,
    407: errors.UNAUTHORIZED,
    410: errors.NOT_FOUND,
}
_ADVICE = {
    404: "check the address",
    407: "the proxy asks for credentials; check spec.fetch.proxy",
    410: "the file was removed there; choose another source",
}
# Answers that pass with time: the request took too long, came too early, or the server is restarting.
_PASSING = {408, 421, 423, 425}

# How long the beginning of a body may take, however steadily it trickles.
_BODY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    start: int  # the offset of the body's first byte in the file
    total: int | None  # the size of the file, when the source says it
    etag: str | None  # only a strong one: a weak one does not promise equal bytes
    version: str | None


def understand(response: httpx.Response, location: Location, *, now: datetime | None = None) -> Answer:
    """The facts of a good answer (200 or 206); a FetchError for any other."""
    advice = location.advice(response)
    if advice is not None:
        raise advice
    if response.status_code not in (200, 206):
        raise refusal(response, location.identity, now=now)
    coding = response.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise FetchError(
            errors.SOURCE_REFUSED,
            f"{location.identity} sends the file with Content-Encoding {coding[:40]!r} although identity was "
            "asked for; switch compression off for this file there",
        )
    start, total = _range(response, location) if response.status_code == 206 else (0, _length(response))
    return Answer(start=start, total=total, etag=_strong_etag(response), version=_version(response, location))


def refusal(
    response: httpx.Response, identity: str, *, advice: str | None = None, now: datetime | None = None
) -> FetchError:
    """What an answer that is no file means by its status; advice is for those that do not pass with time."""
    status = response.status_code
    answered = f"{identity} answered {status} {response.reason_phrase[:80]}".rstrip()
    retry_after = _retry_after(response, now or datetime.now(UTC))
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
    if status == 403 and _is_elsewhere(response):
        # A redirect is mostly signed for a moment: the next one is signed anew.
        return FetchError(
            reason,
            f"{answered}, after it redirected to {response.url.host}: what it redirects to refuses access",
            retryable=True,
        )
    if status in (401, 403):
        advice = advice or credentials_advice(response)
    return FetchError(reason, f"{answered}: {advice or _ADVICE.get(status, 'check the address')}")


def credentials_advice(response: httpx.Response) -> str:
    """What to do about an answer that asks for (other) credentials."""
    # With the port, if it is not the usual one: a Secret must name it too.
    secret, host = secret_of(response), response.url.netloc.decode()
    if secret is None and were_withheld(response):
        return (
            f"it asks for credentials, and after a redirect none are sent over plain http to another host, "
            f"which is {host}; give an https:// address, or one at {host} itself"
        )
    if secret is None:
        return (
            f"it asks for credentials, and no Secret of spec.credentialSecrets has some for the host {host}; "
            f"add a Secret whose key host names {host}"
        )
    if response.status_code == 401:
        return f"it does not accept the credentials of Secret {secret}; renew them"
    return f"the credentials of Secret {secret} have no right to this file; have it granted there"


def beginning(response: httpx.Response, identity: str, *, limit: int) -> bytes:
    """At most `limit` bytes and one more of a body that is not a file; closes the answer."""
    found = bytearray()
    end = time.monotonic() + _BODY_SECONDS
    with failing(identity, received=lambda: len(found)):
        for chunk in response.iter_raw():
            found += chunk
            if len(found) > limit:
                break
            if time.monotonic() > end:
                raise FetchError(
                    errors.TIMEOUT, f"{identity} took too long over {len(found)} bytes", retryable=True
                )
    response.close()
    return bytes(found[: limit + 1])


def _is_elsewhere(response: httpx.Response) -> bool:
    """Whether a redirect led to another host, for which nobody gave credentials."""
    return (
        bool(response.history)
        and response.history[0].url.host != response.url.host
        and secret_of(response) is None
    )


def _range(response: httpx.Response, location: Location) -> tuple[int, int | None]:
    value = response.headers.get("content-range", "")
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", value)
    # Several ranges in one body (multipart/byteranges) have no Content-Range of their own either.
    if match is None or "multipart/" in response.headers.get("content-type", ""):
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
    # The hub's way to say it (draft-ietf-httpapi-ratelimit-headers): t seconds until there is quota again.
    reset = re.search(r";\s*t=(\d{1,9})\b", response.headers.get("ratelimit", ""))
    if reset is not None and response.status_code == 429:
        return float(reset[1])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
