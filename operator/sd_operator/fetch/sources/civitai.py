"""A file of a model version of Civitai, or of a mirror that answers its API.

The API says which files a version has, what their digests are, and where each is downloaded. What Civitai's
own pages show of a version goes beside the model, as A1111's helpers for Civitai lay it out.
"""

from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from sd_operator.fetch import answers, errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.request import Civitai, Request, sentences
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.sources import civitai_files
from sd_operator.fetch.sources.civitai_files import ListedFile, Version
from sd_operator.fetch.sources.location import Advice, Companion, Location

# A version with a few dozen pictures, each with how it was made, stays below. What is parsed takes many times
# its size in memory.
_DOCUMENT_BYTES = 1024 * 1024
_PREVIEW_SUFFIXES = (".png", ".jpeg", ".jpg", ".webp")


def identity(source: Civitai) -> str:
    key = (
        f"modelVersion/{source.model_version_id}"
        if source.model_version_id is not None
        else f"sha256/{source.sha256}"
    )
    file = f"/{source.file_name}" if source.file_name is not None else ""
    place = f" at {source.endpoint}" if source.endpoint is not None else ""
    return f"civitai:{key}{file}{place}"


def resolve(source: Civitai, *, wanted: Request, client: httpx.Client, settings: Settings) -> Location:
    endpoint = source.endpoint or settings.civitai_endpoint
    name = identity(source)
    document = _document(source, endpoint, name, client)
    try:
        version = Version.model_validate_json(document)
    except ValidationError as error:
        raise FetchError(
            errors.SERVER_ERROR,
            f"{name}: the API of {endpoint} describes the version in words that are not understood: "
            f"{sentences(error)[:300]}",
            retryable=True,
        ) from error
    file = civitai_files.choose(version, source, wanted, identity=name)
    return Location(
        url=_download(file, endpoint, name),
        identity=name,
        file_name=file.name,
        advice=_advice(name),
        sha256=file.sha256,
        companions=_companions(version, document),
    )


def _document(source: Civitai, endpoint: str, name: str, client: httpx.Client) -> bytes:
    """The version as the API tells it."""
    key = source.model_version_id if source.model_version_id is not None else f"by-hash/{source.sha256}"
    with failing(name), client.stream("GET", f"{endpoint}/api/v1/model-versions/{key}") as response:
        if response.status_code == 404:
            field = "modelVersionId" if source.model_version_id is not None else "sha256"
            hint = " (the number of a version, not of its model)" if field == "modelVersionId" else ""
            raise FetchError(
                errors.NOT_FOUND, f"{name}: there is no such version; check source.civitai.{field}{hint}"
            )
        refused = _login(response, name)
        if refused is not None:
            raise refused
        if response.status_code != 200:
            raise answers.refusal(response, name)
        body = answers.beginning(response, name, limit=_DOCUMENT_BYTES)
    if len(body) > _DOCUMENT_BYTES:
        raise FetchError(
            errors.SOURCE_REFUSED,
            f"{name}: the API of {endpoint} answers with more than {_DOCUMENT_BYTES} bytes; "
            "check the endpoint",
        )
    return body


def _download(file: ListedFile, endpoint: str, name: str) -> str:
    try:
        url = httpx.URL(f"{endpoint}/").join(file.download_url)
    except httpx.InvalidURL as error:
        raise FetchError(
            errors.SOURCE_REFUSED, f"{name}: the API of {endpoint} names what is no address to download from"
        ) from error
    if url.scheme not in ("http", "https") or (url.scheme == "http" and endpoint.startswith("https:")):
        raise FetchError(
            errors.SOURCE_REFUSED,
            f"{name}: the API of {endpoint} names an address of scheme {url.scheme[:20]!r} to download from",
        )
    return str(url)


def _advice(name: str) -> Advice:
    def advise(response: httpx.Response) -> FetchError | None:
        if response.status_code == 403 and response.url.path.startswith("/api/"):
            return FetchError(
                errors.FORBIDDEN,
                f"{name} answered 403: the file is not for everyone (early access, or withdrawn); "
                f"{answers.credentials_advice(response)}",
            )
        return _login(response, name)

    return advise


def _login(response: httpx.Response, name: str) -> FetchError | None:
    """Civitai sends a stranger to a page to log in, with an answer that looks like success."""
    page = response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html"
    if response.status_code != 200 or not (page or response.url.path == "/login"):
        return None
    return FetchError(
        errors.UNAUTHORIZED,
        f"{name} answered with a page to log in: {answers.credentials_advice(response)}",
    )


def _companions(version: Version, document: bytes) -> tuple[Companion, ...]:
    # As it was received: laid out for people it may be many times as large.
    found = [Companion(".civitai.info", document)]
    picture = next((each.url for each in version.images if each.type == "image"), "")
    suffix = next((each for each in _PREVIEW_SUFFIXES if urlsplit(picture).path.lower().endswith(each)), None)
    if suffix is not None:
        found.append(Companion(f".preview{suffix}", picture))
    return tuple(found)
