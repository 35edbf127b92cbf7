"""What the answers of S3 mean: its errors are codes in a small XML document. Knows nothing of signing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from sd_operator.fetch import answers, errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.sources.location import Advice

# Errors are a few hundred bytes.
_ERROR_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Meaning:
    reason: str
    sentence: str
    retryable: bool = False


# By code, where the advice is the same with and without credentials.
_MEANINGS: Mapping[str, _Meaning] = {
    "NoSuchKey": _Meaning(errors.NOT_FOUND, "the bucket has no such key; check source.s3.key"),
    "NoSuchBucket": _Meaning(
        errors.NOT_FOUND, "there is no such bucket; check source.s3.bucket and source.s3.endpoint"
    ),
    "InvalidBucketName": _Meaning(
        errors.SOURCE_REFUSED, "no bucket can be called that; check source.s3.bucket and source.s3.pathStyle"
    ),
    "InvalidObjectState": _Meaning(
        errors.SOURCE_REFUSED, "the object is archived; restore it there, or choose another source"
    ),
    "RequestTimeTooSkewed": _Meaning(
        errors.UNAUTHORIZED,
        "its clock and the node's differ by more than it allows; set the clock of the node",
        retryable=True,
    ),
    "SlowDown": _Meaning(errors.RATE_LIMITED, "too many requests; fetching goes on later", retryable=True),
    "TooManyRequests": _Meaning(
        errors.RATE_LIMITED, "too many requests; fetching goes on later", retryable=True
    ),
}
# By code, what is wrong with the keys of a Secret.
_KEYS = {
    "InvalidAccessKeyId": "it does not know the accessKeyId of Secret {}; correct it",
    "SignatureDoesNotMatch": "the secretAccessKey of Secret {} does not belong to its accessKeyId; correct "
    "it, or source.s3.endpoint, if requests reach the store under another host name",
    "ExpiredToken": "the sessionToken of Secret {} has expired; renew it",
    "InvalidToken": "the sessionToken of Secret {} is not one for its accessKeyId; correct it",
}


def advice(name: str, *, secret: str | None, host: str, region: str) -> Advice:
    """`host`: the host by which a Secret would be found; `region`: the one that requests are signed for."""

    def advise(response: httpx.Response) -> FetchError | None:
        if response.status_code in (200, 206, 416):
            return None
        body = answers.beginning(response, name, limit=_ERROR_BYTES).decode(errors="replace")
        code = _word(body, "Code")
        answered = f"{name} answered {response.status_code} {code}".rstrip()
        meant = response.headers.get("x-amz-bucket-region", "") or _word(body, "Region")
        if response.status_code in (301, 307, 400) and meant not in ("", region):
            return FetchError(
                errors.SOURCE_REFUSED,
                f"{answered}: the bucket is in the region {meant[:64]}, not {region}; set source.s3.region",
            )
        if code in _MEANINGS:
            found = _MEANINGS[code]
            return FetchError(found.reason, f"{answered}: {found.sentence}", retryable=found.retryable)
        if code in _KEYS and secret is not None:
            return FetchError(errors.UNAUTHORIZED, f"{answered}: {_KEYS[code].format(secret)}")
        if response.status_code in (401, 403):
            return _forbidden(answered, body, secret=secret, host=host)
        return None

    return advise


def _forbidden(answered: str, body: str, *, secret: str | None, host: str) -> FetchError:
    if "Request has expired" in body:
        # The next attempt signs anew.
        return FetchError(errors.FORBIDDEN, f"{answered}: the signature has expired", retryable=True)
    if secret is None:
        return FetchError(
            errors.FORBIDDEN,
            f"{answered}: the object is not public, or does not exist, and no Secret of "
            f"spec.credentialSecrets names the host {host}; add one with accessKeyId and secretAccessKey",
        )
    return FetchError(
        errors.FORBIDDEN,
        f"{answered}: the keys of Secret {secret} may not read it (s3:GetObject), or it does not exist, "
        "which S3 tells only those who may list the bucket",
    )


def _word(body: str, element: str) -> str:
    """The text of an element. Not by a parser of XML: the words are simple, and a document may be hostile."""
    found = re.search(rf"<{element}>\s*([A-Za-z0-9_.-]{{1,100}})\s*</{element}>", body)
    return found[1] if found is not None else ""
