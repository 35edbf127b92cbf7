"""Where a model file comes from."""

from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.schema import rules


class HttpSource(Model):
    """A file behind a plain address."""

    url: Annotated[
        str,
        Field(
            max_length=2048,
            pattern=r"^https?://[^\s]+$",
            description="Address of the file, http or https, with a host and without user name and password.",
            json_schema_extra=rules(
                ("!self.matches('^https?://[^/?#]*@')", "url must not contain a user name or password"),
                (
                    "isURL(self) && url(self).getHostname() != ''",
                    "url must be a whole address with a host, such as https://example.org/model.safetensors; "
                    "a percent sign that begins no escape is written %25",
                ),
            ),
        ),
    ]

    def complaint(self) -> str | None:
        """Why this is no address, where the schema could not tell; None when it is one."""
        try:
            parts = urlsplit(self.url)
            # Read for what it raises: ports are numbers up to 65535.
            _ = parts.port
        except ValueError as error:
            return f"{self.url!r} is no address: {error}"
        return None if parts.hostname else f"{self.url!r} is no address: it names no host"


class HuggingFaceSource(Model):
    """A file of a Hugging Face repository, fetched from the endpoint in the operator's settings."""

    repo: Annotated[
        str,
        Field(
            max_length=200,
            pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$",
            description="Repository, `owner/name`.",
        ),
    ]
    revision: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=r"^[\w.-]+(/[\w.-]+)*$",
            description="Branch, tag or commit. A commit is best: a branch may move between two fetches. "
            "Default: main.",
            json_schema_extra=rules(
                (
                    "self.split('/').all(part, !(part in ['.', '..']))",
                    "revision must be a branch, tag or commit: no part may be '.' or '..'",
                ),
            ),
        ),
    ] = "main"
    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=500,
            pattern=r"^[^/\s]([^\r\n\t]*[^/\s])?$",
            description="Path of the file inside the repository.",
            json_schema_extra=rules(
                (
                    "self.split('/').all(part, !(part in ['', '.', '..']))",
                    "path must stay inside the repository: no empty part, '.' or '..'",
                ),
            ),
        ),
    ]


class Source(Model):
    """Where a file comes from; exactly one."""

    http: Annotated[HttpSource | None, Field(description="A plain http or https address.")] = None
    hugging_face: Annotated[HuggingFaceSource | None, Field(description="A Hugging Face repository.")] = None

    def last_segment(self) -> str:
        """The last segment of the source's path; empty when it has none."""
        if self.http is not None:
            if self.http.complaint() is not None:
                return ""
            return unquote(urlsplit(self.http.url).path.rsplit("/", 1)[-1])
        if self.hugging_face is not None:
            return self.hugging_face.path.rsplit("/", 1)[-1]
        return ""
