"""AWS Signature Version 4, checked: of a header or of a presigned address, from the request alone.

Written from the published rules and not with the library that signs for the fetcher, so that each checks the
other. Knows nothing of buckets.
"""

import datetime
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
SKEW = datetime.timedelta(minutes=15)
_HEADER = re.compile(rf"{ALGORITHM} Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{{64}})")


class SignatureError(Exception):
    """The request is not signed as it must be. `code` is S3's word for why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Key:
    """The secret of an access key id; a temporary one has a session token too."""

    secret: str
    session_token: str = ""


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as it came. Header names are in lower case; path and query are as on the wire."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the request says of its signature."""

    credential: str
    signed_headers: str
    signature: str
    date: str
    expires: int | None
    token: str
    payload: str


def check(request: Signed, keys: Mapping[str, Key], *, now: datetime.datetime) -> None:
    """Raise SignatureError unless one of the keys signed this request."""
    words = dict(_words(request.query))
    claim = _presigned(words, request) if "X-Amz-Signature" in words else _in_header(request)
    access, *scope = claim.credential.split("/")
    key = keys.get(access)
    if key is None:
        raise SignatureError("InvalidAccessKeyId")
    if len(scope) != 4 or scope[2:] != ["s3", "aws4_request"]:
        raise SignatureError("AuthorizationHeaderMalformed")
    if claim.token != key.session_token:
        raise SignatureError("InvalidToken")
    if "host" not in claim.signed_headers.split(";"):
        raise SignatureError("AccessDenied")
    _check_time(claim, now)
    if not hmac.compare_digest(_signature(request, claim, scope, key.secret), claim.signature):
        raise SignatureError("SignatureDoesNotMatch")


def _in_header(request: Signed) -> _Claim:
    found = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if not found:
        raise SignatureError("AccessDenied")
    credential, names, signature = found.groups()
    headers = request.headers
    if "x-amz-content-sha256" not in headers:
        raise SignatureError("InvalidRequest")
    return _Claim(
        credential,
        names,
        signature,
        date=headers.get("x-amz-date", ""),
        expires=None,
        token=headers.get("x-amz-security-token", ""),
        payload=headers["x-amz-content-sha256"],
    )


def _presigned(words: Mapping[str, str], request: Signed) -> _Claim:
    if words.get("X-Amz-Algorithm") != ALGORITHM or not words.get("X-Amz-Expires", "").isdigit():
        raise SignatureError("AuthorizationQueryParametersError")
    return _Claim(
        words.get("X-Amz-Credential", ""),
        words.get("X-Amz-SignedHeaders", ""),
        words["X-Amz-Signature"],
        date=words.get("X-Amz-Date", ""),
        expires=int(words["X-Amz-Expires"]),
        token=words.get("X-Amz-Security-Token", ""),
        payload=request.headers.get("x-amz-content-sha256", UNSIGNED),
    )


def _check_time(claim: _Claim, now: datetime.datetime) -> None:
    try:
        signed = datetime.datetime.strptime(claim.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise SignatureError("AccessDenied") from error
    if claim.expires is None and abs(now - signed) > SKEW:
        raise SignatureError("RequestTimeTooSkewed")
    if claim.expires is not None and now > signed + datetime.timedelta(seconds=claim.expires):
        raise SignatureError("AccessDenied")


def _signature(request: Signed, claim: _Claim, scope: list[str], secret: str) -> str:
    names = claim.signed_headers.split(";")
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    query = sorted((_coded(name), _coded(value)) for name, value in _words(request.query))
    canonical = "\n".join(
        [
            request.method,
            quote(unquote(request.path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query if name != "X-Amz-Signature"),
            headers,
            claim.signed_headers,
            claim.payload,
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join([ALGORITHM, claim.date, "/".join(scope), digest])
    key = f"AWS4{secret}".encode()
    for word in scope:
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _words(query: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


def _coded(text: str) -> str:
    return quote(text, safe="-_.~")
