"""A file of a Hugging Face repository, or of a mirror that answers the same addresses.

The hub answers with a redirect to its storage, and says in it which commit a branch stands for and what the
file's sha256 is. It is asked for those first, so that the bytes can be held against them.
"""

import re
from urllib.parse import quote, urlsplit

import httpx

from sd_operator.fetch import answers, errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.request import HuggingFace
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.sources.location import Advice, Location

_COMMIT_HEADER = "x-repo-commit"
# A repository that was renamed answers with the address of the new one, on the same host.
_RENAMES = 3

_FIELDS = "check source.huggingFace.repo, revision and path: one of them does not exist"
# What the hub's X-Error-Code says, where its status alone would mislead: it does not tell a stranger whether
# a repository is private or does not exist.
_CODES = {
    "RepoNotFound": (
        errors.NOT_FOUND,
        "the repository does not exist, or may not be seen with these credentials; "
        "check source.huggingFace.repo, and the Secret for this host",
    ),
    "RevisionNotFound": (
        errors.NOT_FOUND,
        "the repository has no such revision; check source.huggingFace.revision",
    ),
    "EntryNotFound": (
        errors.NOT_FOUND,
        "the repository has no such file at this revision; check source.huggingFace.path",
    ),
    "DisabledRepo": (errors.FORBIDDEN, "the hub has disabled the repository; choose another source"),
}


def identity(source: HuggingFace) -> str:
    place = f" at {source.endpoint}" if source.endpoint is not None else ""
    return f"huggingFace:{source.repo}/{source.path}@{source.revision}{place}"


def resolve(source: HuggingFace, *, client: httpx.Client, settings: Settings) -> Location:
    endpoint = source.endpoint or settings.hf_endpoint
    name = identity(source)
    told = _told(_address(source, endpoint, source.revision), name, client)
    commit = told.get(_COMMIT_HEADER, "")
    # The commit, not the branch: it cannot move between this and the last byte.
    pinned = commit if re.fullmatch(r"[0-9a-f]{40}", commit) else source.revision
    return Location(
        url=_address(source, endpoint, pinned),
        identity=name,
        file_name=source.path.rpartition("/")[2],
        advice=_advice(name, endpoint),
        version_header=_COMMIT_HEADER,
        sha256=_digest(told.get("x-linked-etag", "")),
    )


def _address(source: HuggingFace, endpoint: str, revision: str) -> str:
    # refs/pr/1 is one segment of the address.
    return f"{endpoint}/{source.repo}/resolve/{quote(revision, safe='')}/{quote(source.path)}"


def _told(url: str, name: str, client: httpx.Client) -> httpx.Headers:
    """The headers of the hub's own answer; none of a mirror that knows no such question, nor of a hub that
    refuses: the download will say why.

    What passes with time is raised, and asked again: a download without the hub's digest is held against
    nothing.
    """
    with failing(name):
        for _ in range(_RENAMES):
            response = client.head(url, follow_redirects=False)
            renamed = response.next_request
            if renamed is None or _COMMIT_HEADER in response.headers:
                break
            if (renamed.url.scheme, renamed.url.netloc) != (response.url.scheme, response.url.netloc):
                break
            url = str(renamed.url)
    if response.status_code < 400:
        return response.headers
    refused = answers.refusal(response, name)
    if refused.retryable and response.status_code != httpx.codes.NOT_IMPLEMENTED:
        raise refused
    return httpx.Headers()


def _digest(etag: str) -> str | None:
    """The sha256 of a file in the hub's large storage; other files have a hash of git's there."""
    found = re.fullmatch(r'"?([0-9a-f]{64})"?', etag)
    return found[1] if found is not None else None


def _advice(name: str, endpoint: str) -> Advice:
    host = urlsplit(endpoint).hostname

    def advise(response: httpx.Response) -> FetchError | None:
        # The storage behind the hub speaks for itself.
        if response.url.host != host or response.status_code not in (401, 403, 404):
            return None
        code = response.headers.get("x-error-code", "")
        answered = f"{name} answered {response.status_code}"
        if code == "GatedRepo":
            return FetchError(
                errors.UNAUTHORIZED if response.status_code == 401 else errors.FORBIDDEN,
                f"{answered}: the repository is gated: whoever owns the token must accept its terms there; "
                f"{answers.credentials_advice(response)}",
            )
        if response.status_code == 404 or code in ("EntryNotFound", "RevisionNotFound", "DisabledRepo"):
            reason, sentence = _CODES.get(code, (errors.NOT_FOUND, _FIELDS))
            return FetchError(reason, f"{answered}: {sentence}")
        if response.status_code == 401:
            return FetchError(
                errors.UNAUTHORIZED,
                f"{answered}: the repository does not exist, or is private or gated; "
                f"{answers.credentials_advice(response)}",
            )
        return None

    return advise
