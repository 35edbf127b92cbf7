"""ModelBundle.status: what the operator sees."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.conditions import ConditionedStatus
from sd_operator.api.schema import list_map

#: How many users a bundle's status names.
MAX_USED_BY = 100
#: How many files that left the spec are remembered until they are removed.
MAX_LEAVING = 256

_TIME = {"format": "date-time"}


class FileStatus(Model):
    """What became of one file."""

    name: Annotated[str, Field(max_length=63, description="Name of the file in spec.files.")]
    state: Annotated[
        Literal["Pending", "Fetching", "Verified", "Failed"],
        Field(
            description="Pending waits for its turn or its pod, Fetching runs, Verified is whole on the "
            "volume with the digest shown, Failed could not be had; retryAt tells whether it is tried again."
        ),
    ] = "Pending"
    reason: Annotated[str | None, Field(max_length=1024, description="Why it waits or failed, one word.")] = (
        None
    )
    message: Annotated[
        str | None, Field(max_length=4096, description="Why it waits or failed, a sentence.")
    ] = None
    size: Annotated[int | None, Field(ge=0, description="Size in bytes.")] = None
    sha256: Annotated[str | None, Field(max_length=64, description="Digest of the bytes on the volume.")] = (
        None
    )
    source_sha256: Annotated[
        str | None,
        Field(
            max_length=64,
            description="Digest of the bytes that the source sent, where they were converted to safetensors.",
        ),
    ] = None
    type: Annotated[str | None, Field(max_length=64, description="What the file is, by its own header.")] = (
        None
    )
    family: Annotated[
        str | None,
        Field(max_length=64, description="Architecture that the file's header shows; absent where none."),
    ] = None
    rank: Annotated[int | None, Field(ge=0, description="Rank of a LoRA.")] = None
    path: Annotated[
        str | None, Field(max_length=512, description="Place on the volume, relative to its root.")
    ] = None
    source: Annotated[
        str | None,
        Field(
            max_length=4096, description="Where the bytes came from: the source, or the mirror that had them."
        ),
    ] = None
    job: Annotated[str | None, Field(max_length=63, description="The Job that fetches or fetched it.")] = None
    failures: Annotated[
        int | None, Field(ge=0, description="Jobs in a row that failed; absent while none has.")
    ] = None
    retry_at: Annotated[
        str | None,
        Field(
            max_length=64,
            description="When a failed file is tried again by itself.",
            json_schema_extra=_TIME,
        ),
    ] = None


class LeavingFile(Model):
    """A file that left the spec and is still on the volume."""

    path: Annotated[str, Field(max_length=512, description="Place on the volume, relative to its root.")]
    name: Annotated[str, Field(max_length=63, description="Name that the file had in spec.files.")]
    sha256: Annotated[
        str, Field(max_length=64, description="Digest of its bytes; empty where it is not known.")
    ] = ""
    since: Annotated[
        str,
        Field(max_length=64, description="When it was seen to have left the spec.", json_schema_extra=_TIME),
    ]
    used_by: Annotated[
        str | None,
        Field(max_length=253, description="An SDInstance that still serves it; it stays as long."),
    ] = None


class VolumeStatus(Model):
    """The volume as it is."""

    claim_name: Annotated[str, Field(max_length=253, description="Name of the PersistentVolumeClaim.")]
    uid: Annotated[
        str | None, Field(max_length=64, description="Its uid: another claim of the name is an empty one.")
    ] = None
    capacity: Annotated[
        str | None, Field(max_length=64, description="Size of the bound volume; absent until it is bound.")
    ] = None


class ProgressStatus(Model):
    """How far the whole bundle is; written at most every few seconds, and only while something is fetched."""

    files: Annotated[str, Field(max_length=32, description="Verified files of all, such as 3/4.")]
    percent: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="Share of the bytes that are on the volume; of the files, while a size is not known.",
        ),
    ]
    size: Annotated[str, Field(max_length=32, description="What is verified so far, for people: 4.0Gi.")]
    bytes: Annotated[int, Field(ge=0, description="Bytes on the volume, of verified and of running fetches.")]
    total_bytes: Annotated[
        int | None, Field(ge=0, description="Bytes of all files; absent until every size is known.")
    ] = None
    bytes_per_second: Annotated[
        int | None, Field(ge=0, description="Rate of all running fetches; absent while none runs.")
    ] = None
    eta_seconds: Annotated[
        int | None, Field(ge=0, description="Seconds to the end at this rate; absent where not known.")
    ] = None


class VerificationStatus(Model):
    """The last time that the files on the volume were hashed anew."""

    time: Annotated[str, Field(max_length=64, description="When.", json_schema_extra=_TIME)]
    damaged: Annotated[
        int, Field(ge=0, description="Files that were lost or altered; they are fetched again.")
    ]
    requested: Annotated[
        str | None,
        Field(max_length=256, description="Value of the annotation sdoperator.dev/verify that it answered."),
    ] = None
    job: Annotated[str | None, Field(max_length=63, description="The Job that did it.")] = None


class ModelBundleStatus(ConditionedStatus):
    """What the operator sees."""

    files: Annotated[
        tuple[FileStatus, ...],
        Field(
            max_length=64,
            description="State of every file of the spec.",
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    progress: Annotated[ProgressStatus | None, Field(description="How far the whole bundle is.")] = None
    leaving: Annotated[
        tuple[LeavingFile, ...],
        Field(
            max_length=MAX_LEAVING,
            description="Files that left the spec and are removed once spec.removeAfter is over and no "
            "SDInstance serves them.",
            json_schema_extra=list_map("path"),
        ),
    ] = ()
    volume: Annotated[VolumeStatus | None, Field(description="The volume.")] = None
    verification: Annotated[
        VerificationStatus | None,
        Field(description="The last time that the files on the volume were hashed anew."),
    ] = None
    used_by: Annotated[
        tuple[Annotated[str, Field(max_length=253)], ...],
        Field(
            max_length=MAX_USED_BY,
            description="SDInstances of the namespace that mount the bundle, for themselves or for a plugin, "
            f"in alphabetical order; the first {MAX_USED_BY} where there are more.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ()
