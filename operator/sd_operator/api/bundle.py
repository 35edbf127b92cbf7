"""ModelBundle: a set of typed model files, from anywhere, verified, on one volume."""

import re
from typing import Annotated, Literal

from pydantic import Field

from sd_modelfiles.kinds import ModelType
from sd_modelfiles.place import path_of
from sd_operator.api.base import Model, ObjectMeta
from sd_operator.api.conditions import ConditionedStatus
from sd_operator.api.kubernetes import DNSLabel
from sd_operator.api.schema import list_map, rules
from sd_operator.api.source import Source
from sd_operator.quantity import PATTERN as QUANTITY_PATTERN

#: How many users a bundle's status names.
MAX_USED_BY = 100

FILE_NAME_PATTERN = r"^[A-Za-z0-9_+()\[\] -][A-Za-z0-9_.+()\[\] -]*\.safetensors$"
FILE_NAME_LENGTH = 200


class BundleFile(Model):
    """One file of the bundle."""

    name: Annotated[
        DNSLabel, Field(description="Name of the file within the bundle; SDInstances refer to it.")
    ]
    type: Annotated[
        Literal["Checkpoint"],
        Field(description="What the file is; decides its folder on the volume (models/Stable-diffusion)."),
    ]
    source: Annotated[
        Source,
        Field(
            description="Where the file comes from; exactly one of http, huggingFace.",
            json_schema_extra=rules(
                (
                    "[has(self.http), has(self.huggingFace)].exists_one(x, x)",
                    "exactly one of http, huggingFace must be set",
                ),
            ),
        ),
    ]
    sha256: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern="^[A-Fa-f0-9]{64}$",
            description="Digest that the file must have, 64 hexadecimal digits. Default: whatever the source "
            "sends is taken, and its digest is shown in status.",
        ),
    ] = None
    file_name: Annotated[
        str | None,
        Field(
            max_length=FILE_NAME_LENGTH,
            pattern=FILE_NAME_PATTERN,
            description="Name of the file on the volume, ending in .safetensors. Default: the last segment "
            "of the source's path.",
        ),
    ] = None

    def implied_file_name(self) -> str:
        """The name on the volume: the given one, or the last segment of the source's path."""
        return self.file_name if self.file_name is not None else self.source.last_segment()

    def place(self) -> str | None:
        """Where the file lies on the volume, or None when its name cannot be used."""
        name = self.implied_file_name()
        if len(name) > FILE_NAME_LENGTH or not re.fullmatch(FILE_NAME_PATTERN, name):
            return None
        return str(path_of(ModelType(self.type), name))


class BundleStorage(Model):
    """The volume claim that the files are kept on."""

    size: Annotated[
        str,
        Field(
            max_length=64,
            pattern=QUANTITY_PATTERN,
            description="Size to ask for, a quantity. It may grow where the storage class expands volumes. "
            "Where it cannot, and when it is made smaller, the volume stays as it is, the bundle works on "
            "with it, and Ready's message says so. Default: 20Gi.",
            json_schema_extra=rules(
                (
                    "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                    "size must be a quantity above zero, such as 20Gi",
                ),
            ),
        ),
    ] = "20Gi"
    storage_class_name: Annotated[
        str | None,
        Field(
            max_length=253,
            description="Storage class. Default: the cluster's default. Cannot be changed later.",
        ),
    ] = None
    access_modes: Annotated[
        tuple[Literal["ReadWriteOnce", "ReadWriteMany"], ...],
        Field(
            min_length=1,
            max_length=2,
            description="How nodes may mount the volume. ReadWriteOnce keeps every user of the bundle on one "
            "node. Default: [ReadWriteOnce]. Cannot be changed later.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ("ReadWriteOnce",)


STORAGE_RULES = rules(
    (
        "has(self.storageClassName) == has(oldSelf.storageClassName) && "
        "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        "storageClassName cannot be changed: the volume exists; make another ModelBundle",
    ),
    (
        "self.accessModes == oldSelf.accessModes",
        "accessModes cannot be changed: the volume exists; make another ModelBundle",
    ),
)


class ModelBundleSpec(Model):
    """What the user wants."""

    family: Annotated[
        Literal["Auto", "SD15", "SDXL"],
        Field(
            description="Architecture of the checkpoints; each file's own header must agree. Auto takes what "
            "the header says. Default: Auto."
        ),
    ] = "Auto"
    files: Annotated[
        tuple[BundleFile, ...],
        Field(
            min_length=1,
            max_length=64,
            description="The files, each fetched by a Job of its own.",
            json_schema_extra=list_map("name"),
        ),
    ]
    storage: Annotated[
        BundleStorage,
        Field(
            description="The volume. It is a PersistentVolumeClaim named `<bundle>-models` and stays when "
            "the bundle is deleted.",
            json_schema_extra=STORAGE_RULES,
        ),
    ] = BundleStorage()


class FileStatus(Model):
    """What became of one file."""

    name: Annotated[str, Field(max_length=63, description="Name of the file in spec.files.")]
    state: Annotated[
        Literal["Pending", "Fetching", "Verified", "Failed"],
        Field(
            description="Pending waits for its pod, Fetching runs, Verified is whole on the volume with the "
            "digest shown, Failed will not be tried again by itself."
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
    family: Annotated[
        str | None, Field(max_length=64, description="Architecture that the file's header shows.")
    ] = None
    path: Annotated[
        str | None, Field(max_length=512, description="Place on the volume, relative to its root.")
    ] = None
    job: Annotated[str | None, Field(max_length=63, description="The Job that fetches or fetched it.")] = None


class VolumeStatus(Model):
    """The volume as it is."""

    claim_name: Annotated[str, Field(max_length=253, description="Name of the PersistentVolumeClaim.")]
    capacity: Annotated[
        str | None, Field(max_length=64, description="Size of the bound volume; absent until it is bound.")
    ] = None


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
    volume: Annotated[VolumeStatus | None, Field(description="The volume.")] = None
    used_by: Annotated[
        tuple[Annotated[str, Field(max_length=253)], ...],
        Field(
            max_length=MAX_USED_BY,
            description="SDInstances of the namespace that mount the bundle, in alphabetical order; the "
            f"first {MAX_USED_BY} where there are more.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ()


class ModelBundle(Model):
    """A set of model files, fetched from their sources, verified, and kept on one volume."""

    metadata: ObjectMeta
    spec: Annotated[ModelBundleSpec, Field(description="What the user wants.")]
    status: Annotated[ModelBundleStatus, Field(description="What the operator sees.")] = ModelBundleStatus()
