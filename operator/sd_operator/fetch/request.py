"""What to fetch: the words of a bundle's file as they come in the environment, checked again at this door.

The patterns are those of the CRD; they are repeated here because what they keep out (a path that leaves the
volume, an address with a password in it) would do its harm in this process.
"""

import json
import re
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_operator.fetch import errors

_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_OBJECT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_SHA256 = r"^[0-9a-f]{64}$"
_PLAIN_NAME = r"[A-Za-z0-9_+()\[\] -][A-Za-z0-9_.+()\[\] -]*"
_FILE_NAME_LENGTH = 200

_SAFETENSORS = ".safetensors"
# How files of PyTorch are called, that is to say pickles.
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")


class FormatPolicy(StrEnum):
    SAFETENSORS_ONLY = "SafetensorsOnly"
    # Pickles without code are taken and become safetensors.
    SCAN_PICKLE = "ScanPickle"
    UNSAFE = "Unsafe"


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    # Read for what it raises: ports are numbers up to 65535.
    _ = parts.port
    try:
        # The client's own understanding of an address is the narrower one.
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from error
    return url


def _endpoint(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("must be an address without '?' and '#'")
    return _web_address(url).rstrip("/")


def _plain_path(path: str) -> str:
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("must be a relative path without empty parts, '.' or '..'")
    return path


def _lower(digest: object) -> object:
    return digest.lower() if isinstance(digest, str) else digest


def _key(key: str) -> str:
    # An address cannot carry such parts: whoever reads it on the way takes them out.
    if any(part in (".", "..") for part in key.split("/")):
        raise ValueError("must not have a part '.' or '..'")
    return key


Sha256 = Annotated[str, Field(pattern=_SHA256), BeforeValidator(_lower)]
Endpoint = Annotated[str, Field(max_length=2048), AfterValidator(_endpoint)]


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Http(_Words):
    url: Annotated[str, Field(max_length=2048), AfterValidator(_web_address)]


class HuggingFace(_Words):
    repo: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")]
    revision: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain_path)]
    path: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_plain_path)]
    endpoint: Endpoint | None = None


class Civitai(_Words):
    model_version_id: Annotated[int, Field(gt=0)] | None = None
    sha256: Sha256 | None = None
    # Which of the version's files; its own name there, which may hold more than a name on the volume may.
    file_name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    endpoint: Endpoint | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.model_version_id is None) == (self.sha256 is None):
            raise ValueError("exactly one of modelVersionId, sha256 must be given")
        return self


class S3(_Words):
    bucket: Annotated[str, Field(min_length=3, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    key: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_key)]
    endpoint: Endpoint | None = None
    region: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9-]+$")] | None = None
    path_style: bool | None = None


class Volume(_Words):
    claim_name: Annotated[str, Field(max_length=253, pattern=_OBJECT_NAME)]
    path: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_plain_path)]


class Source(_Words):
    http: Http | None = None
    hugging_face: HuggingFace | None = None
    civitai: Civitai | None = None
    s3: S3 | None = None
    volume: Volume | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError("exactly one of http, huggingFace, civitai, s3, volume must be given")
        return self


class File(_Words):
    name: Annotated[str, Field(pattern=_LABEL)]
    type: ModelType
    family: Literal["Auto"] | Family = "Auto"
    # The source, then its mirrors in the order in which they are tried.
    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=16)]
    sha256: Sha256 | None = None
    file_name: Annotated[str, Field(max_length=_FILE_NAME_LENGTH)] | None = None


class Request(_Words):
    bundle: Annotated[str, Field(max_length=253, pattern=_OBJECT_NAME)]
    format_policy: FormatPolicy = FormatPolicy.SAFETENSORS_ONLY
    file: File

    @property
    def sources(self) -> tuple[Source, ...]:
        return self.file.sources

    @model_validator(mode="after")
    def _fitting_name(self) -> Self:
        given = self.file.file_name
        if given is not None and not _is_name(given, self.format_policy):
            raise ValueError(
                f"file.fileName: must be a plain name ending in {_endings(self.format_policy)}, "
                f"as spec.formatPolicy {self.format_policy} has it"
            )
        return self


class Expected(_Words):
    name: Annotated[str, Field(pattern=_LABEL)]
    path: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_plain_path)]
    sha256: Sha256


class Removed(_Words):
    """What is no longer the bundle's: this content at this place, under this name."""

    name: Annotated[str, Field(pattern=_LABEL)]
    path: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_plain_path)]
    sha256: Sha256 | Literal[""] = ""  # "" is any


class Upkeep(_Words):
    """What to look after on a volume, for one bundle."""

    bundle: Annotated[str, Field(max_length=253, pattern=_OBJECT_NAME)]
    verify: bool = False  # hash the expected files; else their presence and size are enough
    expect: tuple[Expected, ...] = ()
    remove: tuple[Removed, ...] = ()


def parse(text: str) -> Request:
    """The request in SD_FETCH_FILE; a FetchError names every field that is wrong."""
    return _parsed(Request, text, variable="SD_FETCH_FILE")


def parse_upkeep(text: str) -> Upkeep:
    """The request in SD_FETCH_UPKEEP; a FetchError names every field that is wrong."""
    return _parsed(Upkeep, text, variable="SD_FETCH_UPKEEP")


def file_name(file: File, implied: str, *, policy: FormatPolicy) -> str:
    """The file's name on the volume: the one given, or the one its source implies, held to the same rule."""
    if file.file_name is not None:
        return file.file_name
    if policy is FormatPolicy.SCAN_PICKLE and implied.endswith(_PICKLES):
        implied = implied.rpartition(".")[0] + _SAFETENSORS
    if policy is FormatPolicy.SAFETENSORS_ONLY and implied.endswith(_PICKLES):
        raise errors.FetchError(
            errors.FORMAT_REFUSED,
            f"the source calls the file {implied[-100:]!r}, as pickles are called; set spec.formatPolicy to "
            "ScanPickle to take pickles that hold nothing but tensors, give a safetensors file, or set "
            "fileName if it is one",
        )
    if not _is_name(implied, policy):
        raise errors.FetchError(
            errors.INVALID_REQUEST,
            f"file.fileName: not given, and the source's last path segment {implied[:200]!r} cannot be used: "
            f"a plain name ending in {_endings(policy)} is needed; set fileName",
        )
    return implied


def sentences(error: ValidationError) -> str:
    """A validation error as one line; without the input, which may hold a signed address."""
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc']) or 'the document'}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)
    )


_Parsed = TypeVar("_Parsed", bound=_Words)


def _parsed(words: type[_Parsed], text: str, *, variable: str) -> _Parsed:
    if not text.strip():
        raise errors.FetchError(errors.INVALID_REQUEST, f"{variable} is not set; it says what to do")
    try:
        return words.model_validate(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise errors.FetchError(errors.INVALID_REQUEST, f"{variable} is not JSON: {error}") from error
    except ValidationError as error:
        raise errors.FetchError(errors.INVALID_REQUEST, f"{variable}: {sentences(error)}") from error


def _is_name(name: str, policy: FormatPolicy) -> bool:
    stem = next((name.removesuffix(each) for each in _allowed(policy) if name.endswith(each)), "")
    return len(name) <= _FILE_NAME_LENGTH and re.fullmatch(_PLAIN_NAME, stem) is not None


def _allowed(policy: FormatPolicy) -> tuple[str, ...]:
    return (_SAFETENSORS, *_PICKLES) if policy is FormatPolicy.UNSAFE else (_SAFETENSORS,)


def _endings(policy: FormatPolicy) -> str:
    return " or ".join(_allowed(policy))
