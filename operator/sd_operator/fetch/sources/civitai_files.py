"""The files of a model version of Civitai, as its API lists them, and the choice of one. Pure."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from sd_modelfiles.kinds import ModelType
from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import Civitai, FormatPolicy, Request

# Of the kinds of file that a version has, those that are the model itself; others are configurations,
# training data and the like.
_MODELS = ("Model", "Pruned Model")
# How many names of files a message lists.
_LISTED = 8


def _or_empty(value: object) -> object:
    return {} if value is None else value


class _Told(BaseModel):
    """What is used of an answer; the rest of it is left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)


class _Metadata(_Told):
    format: str | None = None


class _Hashes(_Told):
    sha256: Annotated[str | None, Field(alias="SHA256")] = None


class ListedFile(_Told):
    name: str
    type: str = "Model"
    primary: bool | None = None
    metadata: Annotated[_Metadata, BeforeValidator(_or_empty)] = _Metadata()
    hashes: Annotated[_Hashes, BeforeValidator(_or_empty)] = _Hashes()
    download_url: str
    pickle_scan_result: str | None = None
    virus_scan_result: str | None = None

    @property
    def sha256(self) -> str | None:
        digest = (self.hashes.sha256 or "").lower()
        return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None

    @property
    def is_safetensors(self) -> bool:
        return self.metadata.format == "SafeTensor" or self.name.endswith(".safetensors")


class Image(_Told):
    url: str
    type: str | None = "image"


class Version(_Told):
    files: tuple[ListedFile, ...] = ()
    images: tuple[Image, ...] = ()


def choose(version: Version, source: Civitai, wanted: Request, *, identity: str) -> ListedFile:
    """The file that a source means; a FetchError tells which there are, when it is none or several."""
    if source.file_name is not None:
        candidates = [each for each in version.files if each.name == source.file_name]
        what = f"no file is called {source.file_name[:80]!r}"
    elif source.sha256 is not None:
        candidates = [each for each in version.files if each.sha256 == source.sha256][:1]
        what = "no file has the sha256 that it was found by"
    else:
        candidates = _of_type(version.files, wanted)
        what = f"no file is a {wanted.file.type} in a format that can be fetched"
    if not candidates:
        raise FetchError(
            errors.NOT_FOUND,
            f"{identity}: {what}; set source.civitai.fileName to one of {_names(version.files)}",
        )
    usable = _usable(candidates, wanted.format_policy, identity)
    if len(usable) > 1:
        usable = [each for each in usable if each.primary] or usable
    if len(usable) > 1:
        raise FetchError(
            errors.SOURCE_REFUSED,
            f"{identity}: the version has several files; set source.civitai.fileName to one of "
            f"{_names(usable)}",
        )
    return _checked(usable[0], identity)


def _of_type(files: Sequence[ListedFile], wanted: Request) -> list[ListedFile]:
    """The model files; of a version that brings its VAE along, the VAE where that is wanted."""
    if wanted.file.type is ModelType.VAE:
        found = [each for each in files if each.type == "VAE"]
        if found:
            return found
    return [each for each in files if each.type in _MODELS]


def _usable(files: Sequence[ListedFile], policy: FormatPolicy, identity: str) -> list[ListedFile]:
    """Those in safetensors; where there are none, those that the policy takes."""
    found = [each for each in files if each.is_safetensors]
    if found:
        return found
    if policy is FormatPolicy.SAFETENSORS_ONLY:
        raise FetchError(
            errors.FORMAT_REFUSED,
            f"{identity}: {_names(files)} is not safetensors; choose another version, or set "
            "spec.formatPolicy to ScanPickle to take pickles that hold nothing but tensors",
        )
    return list(files)


def _checked(file: ListedFile, identity: str) -> ListedFile:
    if "Danger" in (file.pickle_scan_result, file.virus_scan_result):
        raise FetchError(
            errors.SOURCE_REFUSED,
            f"{identity}: Civitai's own scan found danger in {file.name[:80]!r}; choose another file",
        )
    return file


def _names(files: Sequence[ListedFile]) -> str:
    shown = ", ".join(repr(each.name[:80]) for each in files[:_LISTED])
    return f"{shown}, …" if len(files) > _LISTED else shown or "nothing: it lists no file"
