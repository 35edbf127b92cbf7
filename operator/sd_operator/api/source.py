"""Where a model file comes from."""

from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.kubernetes import ObjectName
from sd_operator.api.schema import rules

#: The kinds of source, by the names of their fields.
KINDS = ("http", "huggingFace", "civitai", "s3", "volume")

_ADDRESS_RULES = rules(
    ("!self.matches('^https?://[^/?#]*@')", "the address must not contain a user name or password"),
    (
        "isURL(self) && url(self).getHostname() != ''",
        "must be a whole address with a host, such as https://example.org/model.safetensors; "
        "a percent sign that begins no escape is written %25",
    ),
)
_PATH_RULES = rules(
    (
        "self.split('/').all(part, !(part in ['', '.', '..']))",
        "path must stay where it begins: no empty part, '.' or '..'",
    )
)
_PATH_PATTERN = r"^[^/\s]([^\r\n\t]*[^/\s])?$"


def complaint_of(address: str) -> str | None:
    """Why this is no address, where the schema could not tell; None when it is one."""
    try:
        parts = urlsplit(address)
        # Read for what it raises: ports are numbers up to 65535.
        _ = parts.port
    except ValueError as error:
        return f"{address!r} is no address: {error}"
    return None if parts.hostname else f"{address!r} is no address: it names no host"


Endpoint = Annotated[
    str, Field(max_length=512, pattern=r"^https?://[^\s?#]+$", json_schema_extra=_ADDRESS_RULES)
]


class HttpSource(Model):
    """A file behind a plain address."""

    url: Annotated[
        str,
        Field(
            max_length=2048,
            pattern=r"^https?://[^\s]+$",
            description="Address of the file, http or https, with a host and without user name and password.",
            json_schema_extra=_ADDRESS_RULES,
        ),
    ]


class HuggingFaceSource(Model):
    """A file of a Hugging Face repository."""

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
            pattern=_PATH_PATTERN,
            description="Path of the file inside the repository.",
            json_schema_extra=_PATH_RULES,
        ),
    ]
    endpoint: Annotated[
        Endpoint | None,
        Field(description="A mirror that answers the hub's addresses. Default: the operator's setting."),
    ] = None


class CivitaiSource(Model):
    """A file of a model version on Civitai, with its preview picture and trigger words."""

    model_version_id: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**53,
            description="Number of the model version (not of the model). Default: the version of sha256.",
        ),
    ] = None
    sha256: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern="^[A-Fa-f0-9]{64}$",
            description="Digest by which Civitai looks the version up, instead of its number. Default: the "
            "version of modelVersionId.",
        ),
    ] = None
    file_name: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=255,
            description="Which file of the version, by Civitai's name of it. Default: the one with sha256, "
            "else the version's primary model file.",
        ),
    ] = None
    endpoint: Annotated[
        Endpoint | None,
        Field(description="A mirror that answers Civitai's API. Default: the operator's setting."),
    ] = None


CIVITAI_RULES = rules(
    (
        "has(self.modelVersionId) != has(self.sha256)",
        "exactly one of modelVersionId, sha256 must be set",
    )
)


class S3Source(Model):
    """An object in S3 or a store that speaks its language."""

    bucket: Annotated[
        str,
        Field(
            min_length=3,
            max_length=255,
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            description="Bucket.",
        ),
    ]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            description="Key of the object.",
            json_schema_extra=rules(
                (
                    "!self.matches('(^|/)[.][.]?(/|$)')",
                    "key must not have a part '.' or '..', which an address cannot carry",
                )
            ),
        ),
    ]
    endpoint: Annotated[
        Endpoint | None,
        Field(description="Address of the store, such as https://minio.example.org:9000. Default: AWS."),
    ] = None
    region: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[a-z0-9-]+$",
            description="Region that requests are signed for. Default: the Secret's `region`, else "
            "us-east-1.",
        ),
    ] = None
    path_style: Annotated[
        bool | None,
        Field(
            description="Whether the bucket is part of the path (true) or of the host name (false). "
            "Default: true with an endpoint, else false."
        ),
    ] = None


class VolumeSource(Model):
    """A file on another PersistentVolumeClaim of the namespace; it is copied."""

    claim_name: Annotated[
        ObjectName,
        Field(
            description="The claim; it is mounted read-only while the file is copied. A ReadWriteOnce one "
            "must be mountable on the node of the bundle's volume."
        ),
    ]
    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=500,
            pattern=_PATH_PATTERN,
            description="Path of the file from the volume's root.",
            json_schema_extra=_PATH_RULES,
        ),
    ]


class Source(Model):
    """Where a file comes from; exactly one."""

    http: Annotated[HttpSource | None, Field(description="A plain http or https address.")] = None
    hugging_face: Annotated[HuggingFaceSource | None, Field(description="A Hugging Face repository.")] = None
    civitai: Annotated[
        CivitaiSource | None,
        Field(description="A model version on Civitai.", json_schema_extra=CIVITAI_RULES),
    ] = None
    s3: Annotated[S3Source | None, Field(description="An object in S3 or a compatible store.")] = None
    volume: Annotated[
        VolumeSource | None, Field(description="A file on another volume claim of the namespace.")
    ] = None

    def implied_name(self) -> str | None:
        """The file's name as its source says it, as far as is known before asking; None: only the source
        knows it."""
        if self.http is not None:
            if complaint_of(self.http.url) is not None:
                return ""
            return unquote(urlsplit(self.http.url).path.rsplit("/", 1)[-1])
        if self.civitai is not None:
            return self.civitai.file_name
        path = next(
            (
                path
                for path in (
                    self.hugging_face and self.hugging_face.path,
                    self.s3 and self.s3.key,
                    self.volume and self.volume.path,
                )
                if path
            ),
            "",
        )
        return path.rsplit("/", 1)[-1]

    def complaint(self) -> str | None:
        """What is wrong with it that the schema could not tell, behind the field's name below the source."""
        for field, address in (
            ("http.url", self.http and self.http.url),
            ("huggingFace.endpoint", self.hugging_face and self.hugging_face.endpoint),
            ("civitai.endpoint", self.civitai and self.civitai.endpoint),
            ("s3.endpoint", self.s3 and self.s3.endpoint),
        ):
            complaint = complaint_of(address) if address else None
            if complaint is not None:
                return f"{field}: {complaint}"
        return None


SOURCE_RULES = rules(
    (
        f"[{', '.join(f'has(self.{kind})' for kind in KINDS)}].exists_one(x, x)",
        f"exactly one of {', '.join(KINDS)} must be set",
    ),
)
