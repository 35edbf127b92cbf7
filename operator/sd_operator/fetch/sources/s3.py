"""An object of S3, or of a store that speaks its language: a signed address, or a plain one without keys."""

import re
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from sd_operator.fetch import errors
from sd_operator.fetch.credentials import Credential, Credentials
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import S3
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.sources import s3_answers
from sd_operator.fetch.sources.location import Location

_DEFAULT_REGION = "us-east-1"
# Longer than a file takes; whoever reads the address out of this process's memory has the keys too.
_SIGNED_SECONDS = 24 * 3600

# What AWS has certificates for as the first label of a host: a dot would begin another label.
_HOST_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LABELS = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where an object is asked for."""

    url: str
    endpoint: str  # its host, with the port if it has one
    region: str
    # The hosts by any of which a Secret may name it.
    hosts: tuple[tuple[str, str, int | None], ...]


def identity(source: S3) -> str:
    place = f" at {source.endpoint}" if source.endpoint is not None else ""
    return f"s3://{source.bucket}/{source.key}{place}"


def resolve(source: S3, *, settings: Settings) -> Location:
    name = identity(source)
    place = _place(source, source.region or _DEFAULT_REGION)
    found = _credential(place, Credentials(settings.credentials), name)
    if found is not None and source.region is None and "region" in found.values:
        place = _place(source, found.values["region"])
    return Location(
        url=_signed(place, found) if found is not None else place.url,
        identity=name,
        file_name=source.key.rpartition("/")[2],
        advice=s3_answers.advice(
            name,
            secret=found.secret if found is not None else None,
            host=place.endpoint,
            region=place.region,
        ),
        version_header="x-amz-version-id",
    )


def _place(source: S3, region: str) -> _Place:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    endpoint = httpx.URL(source.endpoint or f"https://s3.{region}.{domain}")
    # As it will be in the header Host, which is signed.
    host = endpoint.netloc.decode()
    base = endpoint.raw_path.decode().rstrip("/")
    key = quote(source.key, safe="/~")
    if _is_in_path(source):
        url = f"{endpoint.scheme}://{host}{base}/{source.bucket}/{key}"
    else:
        url = f"{endpoint.scheme}://{source.bucket}.{host}{base}/{key}"
    places = [url, str(endpoint)] + ([f"https://s3.{domain}"] if source.endpoint is None else [])
    hosts = [(each.scheme, each.raw_host.decode(), each.port) for each in map(httpx.URL, places)]
    return _Place(url=url, endpoint=host, region=region, hosts=tuple(dict.fromkeys(hosts)))


def _is_in_path(source: S3) -> bool:
    """Whether the bucket is part of the path, and not of the host name."""
    if source.path_style is None:
        return source.endpoint is not None or not _HOST_BUCKET.fullmatch(source.bucket)
    if not source.path_style and not _LABELS.fullmatch(source.bucket):
        raise FetchError(
            errors.INVALID_REQUEST,
            f"{identity(source)}: the bucket cannot be part of a host name; set source.s3.pathStyle to true",
        )
    return source.path_style


def _credential(place: _Place, credentials: Credentials, name: str) -> Credential | None:
    for scheme, host, port in place.hosts:
        found = credentials.find(scheme, host, port)
        if found is None:
            continue
        if "accessKeyId" not in found.values:
            raise FetchError(
                errors.CREDENTIAL_INVALID,
                f"{name}: Secret {found.secret} names the host {host}, but has no keys accessKeyId and "
                "secretAccessKey, which S3 needs",
            )
        return found
    return None


def _signed(place: _Place, credential: Credential) -> str:
    """The address with a signature in its query, by AWS Signature Version 4."""
    # Only here: other sources do without it and its memory.
    from botocore.auth import S3SigV4QueryAuth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.credentials import Credentials as Keys  # type: ignore[import-untyped]

    values = credential.values
    keys = Keys(values["accessKeyId"], values["secretAccessKey"], values.get("sessionToken"))
    request = AWSRequest(method="GET", url=place.url)
    S3SigV4QueryAuth(keys, "s3", place.region, expires=_SIGNED_SECONDS).add_auth(request)
    signed: str = request.url
    return signed
