"""A file of a Hugging Face repository, or of a mirror that answers the same addresses."""

from urllib.parse import quote

from sd_operator.fetch.request import HuggingFace
from sd_operator.fetch.sources.location import Location

# The hub does not tell a stranger whether a repository is private or does not exist.
_CLOSED = "the repository does not exist, or is private or gated; only public repositories can be fetched"


def locate(source: HuggingFace, *, endpoint: str) -> Location:
    revision = quote(source.revision, safe="")  # refs/pr/1 is one segment of the address
    return Location(
        url=f"{endpoint.rstrip('/')}/{source.repo}/resolve/{revision}/{quote(source.path)}",
        identity=f"huggingFace:{source.repo}/{source.path}@{source.revision}",
        file_name=source.path.rpartition("/")[2],
        advice={
            401: _CLOSED,
            403: _CLOSED,
            404: "check source.huggingFace.repo, revision and path: one of them does not exist",
        },
        version_header="x-repo-commit",
    )
