"""What to fetch: the words of a bundle's file as they come in the environment, checked again at this door.

The patterns are those of the CRD; they are repeated here because what they keep out (a path that leaves the
volume, an address with a password in it) would do its harm in this process.
"""

import json
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from sd_modelfiles.kinds import ModelType
from sd_operator.fetch import errors

_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_FILE_NAME = r"^[A-Za-z0-9_+()\[\] -][A-Za-z0-9_.+()\[\] -]*\.safetensors$"
_FILE_NAME_LENGTH = 200


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    return url


def _plain_path(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("must be a path inside the repository, without empty parts, '.' or '..'")
    return path


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Http(_Words):
    url: Annotated[str, Field(max_length=2048), AfterValidator(_web_address)]


class HuggingFace(_Words):
    repo: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")]
    revision: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain_path)]
    path: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_plain_path)]


class Source(_Words):
    http: Http | None = None
    hugging_face: HuggingFace | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.http is None) == (self.hugging_face is None):
            raise ValueError("exactly one of http, huggingFace must be given")
        return self


class File(_Words):
    name: Annotated[str, Field(pattern=_LABEL)]
    type: Literal[ModelType.CHECKPOINT]
    source: Source
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    file_name: Annotated[str, Field(max_length=_FILE_NAME_LENGTH, pattern=_FILE_NAME)] | None = None


class Request(_Words):
    bundle: str
    family: Literal["Auto", "SD15", "SDXL"] = "Auto"
    file: File


def parse(text: str) -> Request:
    """The request in SD_FETCH_FILE; a FetchError names every field that is wrong."""
    if not text.strip():
        raise errors.FetchError(
            errors.INVALID_REQUEST, "SD_FETCH_FILE is not set; it describes the file to fetch"
        )
    try:
        return Request.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise errors.FetchError(errors.INVALID_REQUEST, f"SD_FETCH_FILE is not JSON: {error}") from error
    except ValidationError as error:
        raise errors.FetchError(errors.INVALID_REQUEST, f"SD_FETCH_FILE: {sentences(error)}") from error


def file_name(file: File, implied: str) -> str:
    """The file's name on the volume: the one given, or the one its source implies, held to the same rule."""
    if file.file_name is not None:
        return file.file_name
    if len(implied) > _FILE_NAME_LENGTH or not re.fullmatch(_FILE_NAME, implied):
        raise errors.FetchError(
            errors.INVALID_REQUEST,
            f"file.fileName: not given, and the source's last path segment {implied[:200]!r} cannot be used: "
            "a plain name ending in .safetensors is needed; set fileName",
        )
    return implied


def sentences(error: ValidationError) -> str:
    """A validation error as one line; without the input, which may hold a signed address."""
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc']) or 'the document'}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)
    )
