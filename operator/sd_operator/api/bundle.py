"""ModelBundle: a set of typed model files, from anywhere, verified, on one volume."""

import re
from typing import Annotated, Literal

from pydantic import Field

from sd_modelfiles.kinds import ModelType
from sd_modelfiles.place import path_of
from sd_operator import names
from sd_operator.api.base import Model, ObjectMeta
from sd_operator.api.bundle_fetch import FetchOptions
from sd_operator.api.bundle_status import FileStatus, ModelBundleStatus
from sd_operator.api.bundle_storage import STORAGE_RULES, BundleStorage
from sd_operator.api.kubernetes import DNSLabel, LocalObjectReference
from sd_operator.api.schema import list_map, rules
from sd_operator.api.source import SOURCE_RULES, Source

__all__ = ["BundleFile", "FileStatus", "ModelBundle", "ModelBundleSpec", "ModelBundleStatus"]

FILE_NAME_PATTERN = r"^[A-Za-z0-9_+()\[\] -][A-Za-z0-9_.+()\[\] -]*\.(safetensors|ckpt|pt|pth|bin)$"
FILE_NAME_LENGTH = 200
SAFETENSORS = ".safetensors"
#: Endings of files that are Python pickles.
PICKLES = (".ckpt", ".pt", ".pth", ".bin")

TypeName = Literal[
    "Checkpoint",
    "VAE",
    "LoRA",
    "TextualInversion",
    "Hypernetwork",
    "ControlNet",
    "Upscaler",
    "Annotator",
]
FamilyName = Literal["Auto", "SD15", "SD21", "SDXL", "SDXLRefiner"]
FormatPolicy = Literal["SafetensorsOnly", "ScanPickle", "Unsafe"]

#: Go's way to write a duration, as far as it is of use here.
DURATION_RULE = (
    "self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$')",
    "must be hours, minutes and seconds, such as 24h or 1h30m",
)
_UNITS = {"h": 3600, "m": 60, "s": 1}


def seconds(duration: str) -> int:
    """The length of a duration such as 1h30m."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


class BundleFile(Model):
    """One file of the bundle."""

    name: Annotated[
        DNSLabel, Field(description="Name of the file within the bundle; SDInstances refer to it.")
    ]
    type: Annotated[
        TypeName,
        Field(
            description="What the file is; the file's own header must agree. Decides its folder on the "
            "volume, as A1111 lays them out: models/Stable-diffusion, models/VAE, models/Lora, embeddings, "
            "models/hypernetworks, models/ControlNet, models/ESRGAN, models/Annotators."
        ),
    ]
    family: Annotated[
        FamilyName | None,
        Field(
            description="Architecture that the file is for; its own header must agree. Default: spec.family."
        ),
    ] = None
    source: Annotated[
        Source,
        Field(description="Where the file comes from; exactly one.", json_schema_extra=SOURCE_RULES),
    ]
    mirrors: Annotated[
        tuple[Annotated[Source, Field(json_schema_extra=SOURCE_RULES)], ...],
        Field(
            max_length=4,
            description="Other places with the same file, tried in this order when the source cannot give "
            "it. Default: none.",
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    sha256: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern="^[A-Fa-f0-9]{64}$",
            description="Digest that the source's bytes must have, 64 hexadecimal digits. Default: whatever "
            "the source sends is taken, and its digest is shown in status.",
        ),
    ] = None
    file_name: Annotated[
        str | None,
        Field(
            max_length=FILE_NAME_LENGTH,
            pattern=FILE_NAME_PATTERN,
            description="Name of the file on the volume, ending in .safetensors (with formatPolicy Unsafe "
            "also .ckpt, .pt, .pth, .bin). Default: the last segment of the source's path; Civitai's name.",
        ),
    ] = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the file may come from, in the order in which they are asked."""
        return (self.source, *self.mirrors)

    def name_on_volume(self, policy: str) -> str | None:
        """The file's name on the volume under a format policy; None: only the source knows it."""
        if self.file_name is not None:
            return self.file_name
        name = self.source.implied_name()
        if name is None or policy != "ScanPickle":
            return name
        ending = next((ending for ending in PICKLES if name.endswith(ending)), None)
        # It is converted.
        return name.removesuffix(ending) + SAFETENSORS if ending else name

    def name_complaint(self, policy: str) -> str | None:
        """Why the file cannot have its name; None when it can, or when only the source knows it."""
        name = self.name_on_volume(policy)
        if name is None:
            return None
        shown = f"{name[:200]!r}" + ("" if self.file_name else ", the last segment of the source's path,")
        if name.endswith(PICKLES) and policy != "Unsafe" and re.fullmatch(FILE_NAME_PATTERN, name):
            if self.file_name:
                return f"{shown} is a pickle's name; with formatPolicy {policy} it must end in .safetensors"
            return (
                f"{shown} is a pickle's name; set formatPolicy to ScanPickle to have it converted, or "
                "fileName if it is a safetensors file"
            )
        if len(name) > FILE_NAME_LENGTH or not re.fullmatch(FILE_NAME_PATTERN, name):
            return f"{shown} is no plain name that ends in .safetensors; set fileName"
        return None

    def place(self, policy: str) -> str | None:
        """Where the file lies on the volume; None when that is not known or its name cannot be used."""
        name = self.name_on_volume(policy)
        if name is None or self.name_complaint(policy) is not None:
            return None
        return str(path_of(ModelType(self.type), name))


class Verification(Model):
    """The files on the volume are hashed anew now and then."""

    interval: Annotated[
        str,
        Field(
            max_length=24,
            min_length=2,
            description="Time between two verifications, such as 24h; a file that was lost or altered is "
            "fetched again. It reads every byte. 0s: never by itself. The annotation sdoperator.dev/verify "
            "asks for one at once, each time its value changes. Default: 168h.",
            json_schema_extra=rules(
                DURATION_RULE,
                (
                    "!self.matches('^([0-9]+[hms])+$') || duration(self) == duration('0s') || "
                    "duration(self) >= duration('1m')",
                    "interval must be at least 1m, or 0s for never",
                ),
            ),
        ),
    ] = "168h"


class ModelBundleSpec(Model):
    """What the user wants."""

    family: Annotated[
        FamilyName,
        Field(
            description="Architecture that the files are for, where they name none themselves; each file's "
            "own header must agree, as far as it shows one. Auto takes what the header says. Default: Auto."
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
    format_policy: Annotated[
        FormatPolicy,
        Field(
            description="Which formats are let in. SafetensorsOnly refuses pickles (.ckpt, .pt, .pth, .bin). "
            "ScanPickle reads them without executing anything, refuses what holds more than tensors, and "
            "keeps them as safetensors. Unsafe keeps pickles as they are; whoever loads them runs what is "
            "in them, and the condition FormatsSafe says so. Default: SafetensorsOnly."
        ),
    ] = "SafetensorsOnly"
    credential_secrets: Annotated[
        tuple[LocalObjectReference, ...],
        Field(
            max_length=16,
            description="Secrets of the namespace with credentials, which only fetch pods see. Each has the "
            "key `host` with the host names it is for, and `token`, or `username` and `password`, or "
            "`accessKeyId` and `secretAccessKey` (with `sessionToken` and `region` where needed). They are "
            "sent to no other host. Default: none.",
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    storage: Annotated[
        BundleStorage,
        Field(
            description="The volume. It is a PersistentVolumeClaim named `<bundle>-models`, or the one of "
            "existingClaim.",
            json_schema_extra=STORAGE_RULES,
        ),
    ] = BundleStorage()
    fetch: Annotated[FetchOptions, Field(description="How files are fetched.")] = FetchOptions()
    verify: Annotated[
        Verification, Field(description="How often the files on the volume are hashed anew.")
    ] = Verification()
    remove_after: Annotated[
        str,
        Field(
            max_length=24,
            min_length=2,
            description="How long a file that left the spec stays on the volume, and no shorter than an "
            "SDInstance serves it. Default: 1h.",
            json_schema_extra=rules(DURATION_RULE),
        ),
    ] = "1h"


SPEC_RULES = rules(
    (
        "self.formatPolicy == 'Unsafe' || self.files.all(file, !has(file.fileName) || "
        "file.fileName.endsWith('.safetensors'))",
        "fileName must end in .safetensors, unless formatPolicy is Unsafe",
    )
)


class ModelBundle(Model):
    """A set of model files, fetched from their sources, verified, and kept on one volume."""

    metadata: ObjectMeta
    spec: Annotated[ModelBundleSpec, Field(description="What the user wants.", json_schema_extra=SPEC_RULES)]
    status: Annotated[ModelBundleStatus, Field(description="What the operator sees.")] = ModelBundleStatus()

    @property
    def claim_name(self) -> str:
        """The claim that holds the files."""
        return self.spec.storage.existing_claim or names.claim_name(self.metadata.name)

    def family_of(self, file: BundleFile) -> str:
        """The architecture that a file must be of, or Auto."""
        return file.family or self.spec.family

    def place_of(self, file: BundleFile) -> str | None:
        """Where the file lies on the volume, as far as the spec tells."""
        return file.place(self.spec.format_policy)
